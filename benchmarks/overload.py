"""Ten times more than the service can serve: what it takes it answers in time, the rest at once.

    make bench-overload

Each connection sends again as soon as it is answered, also when it was refused: nobody waits as
Retry-After asks. Four saturate one worker; ten times and eighty times as many take turns with
them, so that what else the machine does meets all. Of 320 such clients each waits for 320 answers,
whatever they are: at 16,000 a second that is 20 ms. Once as a client at the default rate limit,
once with the token of our services, who have no limit each: load is shed. And once more with lists
of 20 records, of which one costs as much as many refusals.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import load, study
from benchmarks.machine import describe
from benchmarks.service import MlProcess, ml_service

#: What saturates one worker, ten and eighty times that.
CONNECTIONS = (4, 40, 320)
#: Records of a request.
ONE, MANY = 1, 20
TOKEN = "study"
Row = dict[str, object]


def lists(contents: list[bytes], records: int) -> list[bytes]:
    """Return bodies of so many records each."""
    if records == ONE:
        return contents
    starts = range(0, len(contents) - records + 1, records)
    return [b"[%b]" % b",".join(contents[start : start + records]) for start in starts]


def measure(
    service: MlProcess,
    contents: list[bytes],
    records: int,
    connections: int,
    seconds: float,
    *,
    token: bool,
) -> Row:
    """Return a row: accepted and refused answers, their latencies, and the memory after."""
    url = f"{service.url}/predict/onnx"
    headers = {"Authorization": f"Bearer {TOKEN}"} if token else {}
    requests = [load.request(url, body, headers) for body in lists(contents, records)]
    outcome = load.measured(url, requests, seconds=seconds, connections=connections)
    refused = outcome.latencies.get(429, []) + outcome.latencies.get(503, [])
    outcome.latencies[0] = refused
    other = sum(n for status, n in outcome.statuses.items() if status not in {200, 429, 503})
    return {
        "client": "internal" if token else "limited",
        "records": records,
        "connections": connections,
        "accepted/s": outcome.rate,
        "p50 ms": outcome.percentile(50),
        "p99 ms": outcome.percentile(99),
        "refused/s": len(refused) / outcome.seconds,
        "refused p50 ms": outcome.percentile(50, 0),
        "refused p99 ms": outcome.percentile(99, 0),
        "refused in 20 ms %": _within(refused, 0.020),
        "other": other,
        "memory MiB": service.memory_mib,
    }


def _within(latencies: list[float], seconds: float) -> float:
    if not latencies:
        return float("nan")
    return 100 * sum(latency <= seconds for latency in latencies) / len(latencies)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--models", type=Path, default=Path("models"))
    options = parser.parse_args()
    models = options.models.absolute()
    contents = study.bodies(models, 1000)
    print(f"{describe()}; {study.describe_models(models)}")
    rows = []
    with (
        tempfile.TemporaryDirectory() as data,
        ml_service(models, Path(data), AIMQ_INTERNAL_TOKEN=TOKEN) as service,
    ):
        for token, records in ((False, ONE), (True, ONE), (True, MANY)):
            rows += [
                measure(service, contents, records, connections, options.seconds, token=token)
                for connections in CONNECTIONS * 3
            ]
    study.print_table(rows)
    print(f"written: {study.write_csv('overload', rows)}")


if __name__ == "__main__":
    main()
