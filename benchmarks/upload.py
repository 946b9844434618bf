"""From upload to downloaded result: a spreadsheet of 1,000 rows on a warm `aimq up`.

    make bench
    python -m benchmarks.upload --rows 100000 --rounds 9

Starts the services on the embedded default with the published models, scores the sample once to
warm up, then again and again, and prints the median with the parts it consists of.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np

from aimq.workbook.reader import WorkbookReader
from aimq.workbook.writing import write_workbook
from benchmarks.machine import describe
from tests.system import System, environment, running

SAMPLE = Path("assets/sample_files/1000_rows.xlsx")


def workbook(rows: int) -> bytes:
    """Return a workbook of so many rows, those of the sample again and again."""
    with closing(WorkbookReader(max_unpacked_mb=64)) as reader:
        sheet = reader.read(SAMPLE, max_rows=1_000)
    frame = sheet.frame.take(np.arange(rows) % len(sheet.frame)).reset_index(drop=True)
    buffer = io.BytesIO()
    write_workbook(replace(sheet, frame=frame), buffer)
    return buffer.getvalue()


def once(http: httpx.Client, sample: bytes) -> dict[str, float]:
    """Upload, wait, download; return the seconds since the start at each step."""
    started = time.perf_counter()
    job = http.post("/upload", files={"file": ("rows.xlsx", sample)}).raise_for_status().json()
    accepted = time.perf_counter()
    while (state := http.get(f"/jobs/{job['job_id']}").json())["status"] != "done":
        if state["status"] in {"failed", "cancelled"}:
            raise SystemExit(f"the job {state['status']}: {state['error']}")
        # Often enough to tell the end by a hundredth, seldom enough to take nothing from the work.
        time.sleep(max(0.005, (time.perf_counter() - started) / 100))
    done = time.perf_counter()
    result = http.get(f"/jobs/{job['job_id']}/result").raise_for_status()
    assert len(result.content) > len(sample) // 2
    end = time.perf_counter()
    return {"accepted": accepted - started, "done": done - started, "downloaded": end - started}


def measure(system: System, sample: bytes, rounds: int) -> list[dict[str, float]]:
    """Return the timings of `rounds` uploads after one to warm up."""
    with httpx.Client(base_url=system.url, timeout=60.0) as http:
        once(http, sample)
        return [once(http, sample) for _ in range(rounds)]


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1000)
    options = parser.parse_args()
    rounds, rows = options.rounds, options.rows
    with (
        tempfile.TemporaryDirectory() as data,
        running(environment(Path(data), Path("models").absolute())) as system,
    ):
        timings = measure(system, workbook(rows), rounds)
    print(f"{rows:,} rows, upload to downloaded result, {rounds} rounds; {describe()}")
    print(f"{'':>12}{'min':>9}{'median':>9}{'max':>9}   seconds since the upload began")
    for step in timings[0]:
        values = [timing[step] for timing in timings]
        print(f"{step:>12}{min(values):9.3f}{statistics.median(values):9.3f}{max(values):9.3f}")


if __name__ == "__main__":
    main()
