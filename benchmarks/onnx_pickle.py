"""The cached ONNX model against the pickle that is loaded from disk for every request.

    make bench-onnx

1,000 requests one after the other, and 1,000 at 32 connections, over HTTP, to a service of its own
for each; also with RedisAI when AIMQ_REDISAI_URL names a server. Writes a table, a CSV and plots.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks import load, plot, study
from benchmarks.machine import describe
from benchmarks.service import ml_service

CONNECTIONS = (1, 32)
Row = dict[str, object]


def measure(models: Path, path: str, label: str, count: int, **environ: str) -> list[Row]:
    """Return a row for each number of connections."""
    contents = study.bodies(models, 1000)
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory() as data,
        ml_service(models, Path(data), AIMQ_RATE_LIMIT="1000000/second", **environ) as service,
    ):
        url = service.url + path
        requests = [load.request(url, content) for content in contents]
        load.measured(url, requests, total=max(3, count // 20))  # warm
        for connections in CONNECTIONS:
            outcome = load.measured(url, requests, total=count, connections=connections)
            if set(outcome.statuses) != {200}:
                raise SystemExit(f"{label}: answers other than 200: {dict(outcome.statuses)}")
            rows.append(
                {
                    "endpoint": label,
                    "connections": connections,
                    "requests": count,
                    "total s": outcome.seconds,
                    "answers/s": outcome.rate,
                    **{f"p{p} ms": outcome.percentile(p) for p in (50, 90, 99)},
                    "max ms": outcome.percentile(100),
                    "start s": service.start_seconds,
                    "memory MiB": service.memory_mib,
                }
            )
    return rows


def _plot(rows: list[Row], count: int) -> str:
    groups: dict[str, dict[str, float]] = {}
    for row in rows:
        name = f"{row['connections']} connections" if row["connections"] != 1 else "one by one"
        groups.setdefault(name, {})[str(row["endpoint"])] = float(str(row["total s"]))
    return plot.bars(f"{count:,} requests", plot.Axis("seconds in all", log=True), groups)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--models", type=Path, default=Path("models"))
    options = parser.parse_args()
    models, count = options.models.absolute(), options.requests
    print(f"{describe()}; {study.describe_models(models)}")
    rows = measure(models, "/predict/onnx", "onnx, in-process", count)
    redisai = os.environ.get("AIMQ_REDISAI_URL", "")
    if redisai:
        rows += measure(models, "/predict/onnx", "onnx, RedisAI", count, AIMQ_REDISAI_URL=redisai)
    rows += measure(models, "/predict/pickle", "pickle from disk", count)
    study.print_table(rows)
    for connections in CONNECTIONS:
        totals = {
            str(row["endpoint"]): float(str(row["total s"]))
            for row in rows
            if row["connections"] == connections
        }
        ratio = totals["pickle from disk"] / totals["onnx, in-process"]
        print(f"pickle / onnx at {connections} connections: {ratio:,.0f}")
    study.write_plot("onnx_pickle", _plot(rows, count))
    print(f"written: {study.write_csv('onnx_pickle', rows)} and a plot beside it")


if __name__ == "__main__":
    main()
