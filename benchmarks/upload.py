"""From upload to downloaded result: a spreadsheet of 1,000 rows on a warm `aimq up`.

    make bench

Starts the services on the embedded default with the published models, scores the sample once to
warm up, then again and again, and prints the median with the parts it consists of.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.machine import describe
from tests.system import System, environment, running

SAMPLE = Path("assets/sample_files/1000_rows.xlsx")


def once(http: httpx.Client, sample: bytes) -> dict[str, float]:
    """Upload, wait, download; return the seconds since the start at each step."""
    started = time.perf_counter()
    name = "1000_rows.xlsx"
    job = http.post("/upload", files={"file": (name, sample)}).raise_for_status().json()
    accepted = time.perf_counter()
    while (state := http.get(f"/jobs/{job['job_id']}").json())["status"] != "done":
        if state["status"] in {"failed", "cancelled"}:
            raise SystemExit(f"the job {state['status']}: {state['error']}")
        time.sleep(0.005)
    done = time.perf_counter()
    result = http.get(f"/jobs/{job['job_id']}/result").raise_for_status()
    assert len(result.content) > len(sample) // 2
    end = time.perf_counter()
    return {"accepted": accepted - started, "done": done - started, "downloaded": end - started}


def measure(system: System, rounds: int) -> list[dict[str, float]]:
    """Return the timings of `rounds` uploads after one to warm up."""
    with httpx.Client(base_url=system.url, timeout=60.0) as http:
        sample = SAMPLE.read_bytes()
        once(http, sample)
        return [once(http, sample) for _ in range(rounds)]


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    with (
        tempfile.TemporaryDirectory() as data,
        running(environment(Path(data), Path("models").absolute())) as system,
    ):
        timings = measure(system, rounds)
    print(f"1,000 rows, upload to downloaded result, {rounds} rounds; {describe()}")
    print(f"{'':>12}{'min':>9}{'median':>9}{'max':>9}   seconds since the upload began")
    for step in timings[0]:
        values = [timing[step] for timing in timings]
        print(f"{step:>12}{min(values):9.3f}{statistics.median(values):9.3f}{max(values):9.3f}")


if __name__ == "__main__":
    main()
