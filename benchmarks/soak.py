"""Do memory and disk stay flat? Many tasks, with results that expire meanwhile.

    python -m benchmarks.soak [--tasks 100000] [--ttl 20]

Runs `aimq up` on the embedded default, keeps a number of clients busy asking for predictions (and
now and then for a factorial whose result is a file), and samples the services' resident memory and
the size of the data folder. At the end everything expires. Exit code 1 when something grew:
memory by more than a quarter from the middle of the run to its end, the folder by more than half,
or anything was left.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import msgspec
import openpyxl

from aimq.broker.connect import connect_broker
from aimq.broker.topology import WORK_QUEUES
from aimq.files import connect_files
from aimq.jobs.connect import connect_store
from aimq.settings import Settings
from benchmarks.machine import describe
from tests.system import ROOT, System, constants, environment, running

SAMPLE: Final = ROOT / "assets" / "sample_files" / "1_row.xlsx"
_CLIENTS: Final = 32
#: One task in so many is a factorial whose digits need a file.
_EVERY: Final = 500
_NO: Final = 20_000
_PATIENCE: Final = 120.0
_BOUND: Final = 1_000
_MIB: Final = 2**20


@dataclass(frozen=True)
class Sample:
    """What was seen at one moment."""

    seconds: float
    accepted: int
    memory_mib: float
    disk_mib: float


@dataclass
class Soak:
    """A run: what was accepted and refused, what was sampled, and what was left at the end."""

    accepted: int = 0
    put_off: int = 0
    samples: list[Sample] = field(default_factory=list)
    left_records: int = 0
    left_files: int = 0
    dead_letters: int = 0

    def growth(self, name: str) -> float:
        """Return the ratio of a quantity's median in the last quarter to that of the second."""
        values = [getattr(sample, name) for sample in self.samples]
        quarter = max(1, len(values) // 4)
        middle = statistics.median(values[quarter : 2 * quarter] or values)
        return float(statistics.median(values[-quarter:]) / middle)

    @property
    def flat(self) -> bool:
        """Tell whether nothing grew and nothing was left."""
        grew = self.growth("memory_mib") > 1.25 or self.growth("disk_mib") > 1.5
        return not grew and not (self.left_records or self.left_files or self.dead_letters)


def record() -> bytes:
    """Return the body of one prediction."""
    rows = openpyxl.load_workbook(SAMPLE).worksheets[0].iter_rows(values_only=True)
    header, values = list(rows)[:2]
    return msgspec.json.encode(dict(zip(header, values, strict=True)))


class _Client:
    """One kept connection: a general client would be busier than what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, method: str, path: str, body: bytes = b"") -> int:
        """Return the status of one request."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length: ")[2].split(b"\r\n")[0])
        await self._reader.readexactly(length)
        return int(answer.split(b" ", 2)[1])

    def close(self) -> None:
        self._writer.close()


async def _load(system: System, soak: Soak, tasks: int, body: bytes) -> None:
    url = httpx.URL(system.url)
    left = iter(range(tasks))

    async def client() -> None:
        one = _Client(*await asyncio.open_connection(url.host, url.port))
        for number in left:
            while True:
                if number % _EVERY == 0:
                    status = await one.ask("GET", f"/factorial?no={_NO}")
                else:
                    status = await one.ask("POST", "/predict/async", body)
                if status == 202:
                    break
                assert status == 503, status
                soak.put_off += 1
                await asyncio.sleep(0.5)
            soak.accepted += 1
        one.close()

    await asyncio.gather(*(client() for _ in range(_CLIENTS)))


async def _sample(system: System, data: Path, soak: Soak, interval: float) -> None:
    begun = time.monotonic()
    while True:
        memory, disk = await asyncio.to_thread(lambda: (_memory(system.process.pid), _disk(data)))
        soak.samples.append(Sample(time.monotonic() - begun, soak.accepted, memory, disk))
        await asyncio.sleep(interval)


def _memory(parent: int) -> float:
    """Return the resident memory of a process's descendants, in MiB."""
    family, total = {parent}, 0
    # Children have greater ids than their parents, unless the ids wrapped around meanwhile.
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            fields = dict(
                line.split(":", 1) for line in (folder / "status").read_text().splitlines()
            )
        except (OSError, ValueError):
            continue
        if int(fields["PPid"]) in family:
            family.add(int(folder.name))
            total += int(fields.get("VmRSS", "0 kB").split()[0]) * 1024
    return total / _MIB


def _disk(data: Path) -> float:
    total = 0
    for path in data.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # deleted meanwhile, as it should be
    return total / _MIB


def run(folder: Path, models: Path, *, tasks: int, ttl: int, interval: float) -> Soak:
    """Soak a system of its own in a folder and return what was seen."""
    soak = Soak()
    environ = environment(
        folder,
        models,
        AIMQ_RESULT_TTL_SECONDS=str(ttl),
        AIMQ_LOG_LEVEL="warning",
        # What waits longer than its lifetime would be a dead letter.
        **constants(queue_bound=_BOUND),
    )
    with running(environ) as system:

        async def both() -> None:
            sampling = asyncio.create_task(_sample(system, folder, soak, interval))
            await _load(system, soak, tasks, record())
            sampling.cancel()

        asyncio.run(both())
        _wait_for_the_janitor(soak, folder, ttl)
    return soak


def _wait_for_the_janitor(soak: Soak, folder: Path, ttl: int) -> None:
    settings = Settings(data_dir=folder, result_ttl_seconds=10**9)
    files, store = connect_files(settings), connect_store(settings)
    broker = connect_broker(settings)
    deadline = time.monotonic() + ttl + _PATIENCE
    try:
        while True:
            soak.left_records = len(store.recent(limit=10))
            soak.left_files = len(list(files.keys("results")))
            soak.dead_letters = sum(broker.counts(queue).dead for queue in WORK_QUEUES)
            if not (soak.left_records or soak.left_files) or time.monotonic() > deadline:
                return
            time.sleep(0.5)
    finally:
        broker.close()
        store.close()


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--ttl", type=int, default=20, help="seconds until a result expires")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as data:
        models = Path("models").absolute()
        soak = run(Path(data), models, tasks=given.tasks, ttl=given.ttl, interval=2.0)
    print(f"{soak.accepted:,} tasks, results kept {given.ttl} s; {describe()}\n")
    print("| seconds | tasks | memory, MiB | data folder, MiB |\n|---|---|---|---|")
    step = max(1, len(soak.samples) // 20)
    for one in soak.samples[::step]:
        row = f"{one.seconds:.0f} | {one.accepted:,} | {one.memory_mib:.0f} | {one.disk_mib:.1f}"
        print(f"| {row} |")
    print(
        f"\nlast quarter to second: memory x {soak.growth('memory_mib'):.2f}, "
        f"disk x {soak.growth('disk_mib'):.2f}; left at the end: {soak.left_records} records, "
        f"{soak.left_files} files, {soak.dead_letters} dead letters; "
        f"put off with 503: {soak.put_off}"
    )
    raise SystemExit(0 if soak.flat else 1)


if __name__ == "__main__":
    main()
