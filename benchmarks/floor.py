"""How near the service is to what its parts cost alone.

    make bench-floor

`/predict/onnx`, with limits and metrics on, against an empty FastAPI endpoint that validates the
same body; also by way of the interface, and on RedisAI when AIMQ_REDISAI_URL names a server. And an
Arrow stream of 100,000 rows against the bare `InferenceSession.run` on all cores.
All take turns, so that what else the machine does meets all; medians are told.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa

from aimq.ort import onnxruntime
from aimq.schema import Schema, load_schema, read_columns
from benchmarks import load, plot, study
from benchmarks.machine import describe
from benchmarks.sampling import sample_records
from benchmarks.service import PATIENCE, interface, ml_service

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
EMPTY = "empty endpoint"
_OURS, _REMOTE, _RELAYED = "/predict/onnx", "/predict/onnx on RedisAI", "interface's /predict"
Row = dict[str, object]


@contextlib.contextmanager
def floor_service(schema: Path) -> Iterator[str]:
    """Run the empty endpoint; yield its URL."""
    command = [sys.executable, "-m", "benchmarks.floor_app", str(schema)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip() + "/empty"
    finally:
        process.terminate()
        process.wait(PATIENCE)
        process.stdout.close()


def single_predictions(urls: dict[str, str], contents: list[bytes], rounds: int) -> list[Row]:
    """Return latency and throughput of each, medians over rounds; the first is the floor."""
    seen: dict[str, list[tuple[float, float, float]]] = {label: [] for label in urls}
    for turn in range(rounds + 1):
        for label, where in urls.items():
            requests = [load.request(where, content) for content in contents]
            alone = load.measured(where, requests, total=1000)
            many = load.measured(where, requests, total=8000, connections=32)
            if set(alone.statuses + many.statuses) != {200}:
                raise SystemExit(f"{label}: answers other than 200: {many.statuses}")
            if turn:  # the first warms up
                seen[label].append((alone.percentile(50), alone.percentile(99), many.rate))
    rows: list[Row] = []
    for label, values in seen.items():
        p50, p99, rate = (statistics.median(column) for column in zip(*values, strict=True))
        rows.append(
            {
                "endpoint": label,
                "sequential p50 ms": p50,
                "sequential p99 ms": p99,
                "answers/s at 32": rate,
            }
        )
    return rows


def ratios(rows: list[Row], of: str, to: str) -> str:
    """Return how one endpoint compares with another, as a sentence."""
    ours, base = ({row["endpoint"]: row for row in rows}[name] for name in (of, to))
    p50, rate = (
        float(str(ours[key])) / float(str(base[key]))
        for key in ("sequential p50 ms", "answers/s at 32")
    )
    return f"{of}: p50 {p50:.2f} times that of {to}, throughput {rate:.2f} of it"


def arrow_stream(url: str, models: Path, count: int, rounds: int) -> Row:
    """Return how long a stream takes, and the bare sessions on the same matrices."""
    folder, _ = study.version_folder(models)
    schema = load_schema(folder / "schema.toml")
    table = _table(schema, count)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body = sink.getvalue().to_pybytes()
    columns = read_columns(schema, table.to_pandas())
    matrices = [columns.matrix(columns.groups == at) for at in range(len(schema.groups))]
    sessions = [onnxruntime.InferenceSession(folder / f"{g}.onnx") for g in schema.groups]
    bare, stream = [], []
    with httpx.Client(timeout=120) as client:
        for turn in range(rounds + 1):
            started = time.perf_counter()
            for session, matrix in zip(sessions, matrices, strict=True):
                session.run(None, {session.get_inputs()[0].name: matrix})
            between = time.perf_counter()
            client.post(url, content=body, headers=ARROW).raise_for_status()
            if turn:
                bare.append(between - started)
                stream.append(time.perf_counter() - between)
    ours, floor = statistics.median(stream), statistics.median(bare)
    return {"rows": count, "bare sessions s": floor, "stream s": ours, "ratio": ours / floor}


def _table(schema: Schema, count: int) -> pa.Table:
    few = pa.Table.from_pylist(sample_records(schema, 5000))
    for name in few.column_names:
        if pa.types.is_string(few[name].type):
            at = few.schema.get_field_index(name)
            few = few.set_column(at, name, few[name].combine_chunks().dictionary_encode())
    places = np.random.default_rng(3).integers(0, few.num_rows, count)
    return few.take(pa.array(places)).combine_chunks()


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--models", type=Path, default=Path("models"))
    options = parser.parse_args()
    models = options.models.absolute()
    folder, _ = study.version_folder(models)
    print(f"{describe()}; {study.describe_models(models)}")
    unlimited = {"AIMQ_RATE_LIMIT": "1000000/second"}
    redisai = os.environ.get("AIMQ_REDISAI_URL", "")
    with contextlib.ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(ml_service(models, data, **unlimited)).url + _OURS
        urls = {EMPTY: stack.enter_context(floor_service(folder / "schema.toml")), _OURS: ours}
        front = stack.enter_context(interface(ours.removesuffix(_OURS), data))
        urls[_RELAYED] = f"{front.url}/predict"
        if redisai:
            remote = ml_service(models, data, AIMQ_REDISAI_URL=redisai, **unlimited)
            urls[_REMOTE] = stack.enter_context(remote).url + _OURS
        rows = single_predictions(urls, study.bodies(models, 1000), options.rounds)
        stream = arrow_stream(ours, models, options.rows, options.rounds)
    study.print_table(rows)
    print(ratios(rows, _OURS, EMPTY))
    print(ratios(rows, _RELAYED, _OURS))
    if redisai:
        print(ratios(rows, _REMOTE, EMPTY))
    study.print_table([stream])
    study.write_csv("floor", rows)
    study.write_csv("floor_stream", [stream])
    both = {str(row["endpoint"]): float(str(row["answers/s at 32"])) for row in rows}
    axis = plot.Axis("answers per second, 32 connections")
    study.write_plot("floor", plot.bars("One worker", axis, {"": both}))
    print(f"written: {study.RESULTS}/floor.csv, floor_stream.csv, floor.svg")


if __name__ == "__main__":
    main()
