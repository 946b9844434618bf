"""One run: load, blows, and the account at the end."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.fleet import Fleet
from benchmarks.chaos.ledger import Account, Ledger, Pool
from benchmarks.chaos.plan import Planned, plan

#: After the last blow a job may take this long, with none finishing before, to become final.
_PATIENCE = 90.0


@dataclass(frozen=True)
class Report:
    """What a run did and what came of it.

    Attributes:
        blows: how often each blow fell.
        left: messages in queues other than the dead letters' at the end, by queue.
        exit_codes: of the services, when they were asked to stop.
        seconds: from the first start to the last check.
        until_final: seconds from the last blow until everything accepted was final.
    """

    account: Account
    blows: Counter[str]
    left: dict[str, str]
    exit_codes: list[int]
    seconds: float
    until_final: float

    @property
    def kept(self) -> bool:
        """Tell whether every promise was kept, no message is left, and all stopped in order."""
        return self.account.kept and not self.left and not any(self.exit_codes)


def run(
    folder: Path,
    models: Path,
    *,
    kills: int,
    seed: int,
    servers: bool,
    most_rows: int = 3000,
    clients: int = 3,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Strike `kills` times at random moments under load; the same seed draws the same blows."""
    started = time.monotonic()
    with Fleet(folder, models, servers=servers) as fleet:
        ledger = Ledger(fleet.url, Pool(fleet.ml_url, 500, seed))
        stop = threading.Event()
        threads = [
            threading.Thread(target=ledger.ask_until, args=(stop, seed + n, most_rows, 0.4))
            for n in range(clients)
        ]
        for thread in threads:
            thread.start()
        blows = plan(fleet.blows(), kills, random.Random(seed))
        with _Hands() as hands:
            try:
                struck = _strike(blows, hands, ledger, say)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            say("all blows have fallen; waiting for everything that was accepted")
            calm = time.monotonic()
            fleet.wait_ready()
            account = ledger.settle(_PATIENCE)
            left = fleet.left_over()
            codes = fleet.stop()
    return Report(
        account, struck, left, codes, time.monotonic() - started, account.settled_at - calm
    )


class _Hands:
    """A thread for each victim, so that several can be down at once.

    They live until the end: a server that is started again ends with the thread that started it.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._last: dict[str, Future[None]] = {}

    def __enter__(self) -> _Hands:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def strike(self, planned: Planned) -> None:
        """Strike and mend in the victim's own thread, once its last blow is mended."""
        victim = planned.blow.victim
        if victim not in self._pools:
            self._pools[victim] = self._stack.enter_context(ThreadPoolExecutor(max_workers=1))
        self.wait(victim)
        self._last[victim] = self._pools[victim].submit(_strike_and_mend, planned)

    def wait(self, victim: str) -> None:
        """Wait until a victim is mended; raises what went wrong with that."""
        if victim in self._last:
            self._last.pop(victim).result()

    def wait_for_all(self) -> None:
        """Wait until everything is mended."""
        for victim in list(self._last):
            self.wait(victim)


def _strike(
    blows: list[Planned], hands: _Hands, ledger: Ledger, say: Callable[[str], None]
) -> Counter[str]:
    struck: Counter[str] = Counter()
    start = time.monotonic()
    late = 0.0  # a victim may take longer to come back than was planned
    for number, planned in enumerate(blows, 1):
        time.sleep(max(0.0, start + planned.at + late - time.monotonic()))
        hands.strike(planned)
        late = max(late, time.monotonic() - start - planned.at)
        struck[planned.blow.name] += 1
        seconds = time.monotonic() - start
        say(
            f"{number:4d} {seconds:6.1f} s  {planned.blow.name:28}"
            f" accepted so far {ledger.account.accepted.total()}"
        )
    hands.wait_for_all()
    return struck


def _strike_and_mend(planned: Planned) -> None:
    planned.blow.strike()
    time.sleep(planned.outage)
    planned.blow.mend()
