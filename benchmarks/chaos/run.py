"""One run: load, blows, and the account at the end."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.fleet import Blow, Fleet
from benchmarks.chaos.ledger import Account, Ledger, Pool

#: A blow is mended within this many seconds.
_LONGEST_OUTAGE = 2.0
#: After the last blow a job may take this long, with none finishing before, to become final.
_PATIENCE = 90.0


@dataclass(frozen=True)
class Report:
    """What a run did and what came of it."""

    account: Account
    blows: Counter[str]
    held: dict[str, int]
    exit_codes: list[int]
    seconds: float

    @property
    def kept(self) -> bool:
        """Tell whether every promise was kept, nothing is held, and all stopped in order."""
        return self.account.kept and not self.held and not any(self.exit_codes)


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
    draw = random.Random(seed)
    started = time.monotonic()
    with Fleet(folder, models, servers=servers) as fleet:
        ledger = Ledger(fleet.url, Pool(fleet.ml_url, 500, seed))
        stop = threading.Event()
        threads = [
            threading.Thread(target=ledger.upload_until, args=(stop, seed + n, most_rows, 0.4))
            for n in range(clients)
        ]
        for thread in threads:
            thread.start()
        struck = _strike(fleet.blows(), kills, draw, ledger, say)
        stop.set()
        for thread in threads:
            thread.join()
        fleet.wait_ready()
        account = ledger.settle(_PATIENCE)
        held = fleet.held_messages()
        codes = fleet.stop()
    return Report(account, struck, held, codes, time.monotonic() - started)


def _strike(
    blows: list[Blow], kills: int, draw: random.Random, ledger: Ledger, say: Callable[[str], None]
) -> Counter[str]:
    """Strike one blow after another, each mended before the next of its kind may come."""
    struck: Counter[str] = Counter()
    mending: dict[str, threading.Thread] = {}
    for number in range(1, kills + 1):
        time.sleep(draw.uniform(0.1, 1.5))
        blow = draw.choice(blows)
        victim = blow.name.split()[-1]  # a server is not stopped while it is being started
        if victim in mending:
            mending[victim].join()
        say(f"{number:4d} {blow.name:28} accepted so far {ledger.account.accepted}")
        blow.strike()
        struck[blow.name] += 1
        mending[victim] = threading.Thread(target=_mend, args=(blow, draw.random()))
        mending[victim].start()
    for thread in mending.values():
        thread.join()
    return struck


def _mend(blow: Blow, share: float) -> None:
    time.sleep(share * _LONGEST_OUTAGE)
    blow.mend()
