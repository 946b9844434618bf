"""What more processes of the ML service bring on one machine: ``python -m benchmarks.workers``."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from aimq.schema import load_schema
from benchmarks import load, study
from benchmarks.machine import describe
from benchmarks.sampling import sample_records
from benchmarks.service import ml_service

_LIST = 500


def measure(models: Path, workers: int, bodies: dict[str, bytes], rounds: int) -> dict[str, float]:
    """Return the median answers a second for each kind of body, with so many workers."""
    environ = {"AIMQ_WORKERS": str(workers), "AIMQ_RATE_LIMIT": "1000000/second"}
    with (
        tempfile.TemporaryDirectory() as folder,
        ml_service(models, Path(folder), **environ) as service,
    ):
        url = f"{service.url}/predict/onnx"
        rates: dict[str, list[float]] = {name: [] for name in bodies}
        for turn in range(rounds + 1):
            for name, body in bodies.items():
                total = 200 if body[:1] == b"[" else 8000
                done = load.measured(url, [load.request(url, body)], total=total, connections=32)
                if set(done.statuses) != {200}:
                    raise SystemExit(f"answers other than 200: {done.statuses}")
                if turn:  # the first warms up
                    rates[name].append(done.rate)
        return {name: statistics.median(values) for name, values in rates.items()}


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    models = options.models.absolute()
    folder, _ = study.version_folder(models)
    records = sample_records(load_schema(folder / "schema.toml"), _LIST)
    bodies = {
        "single records": json.dumps(records[0]).encode(),
        f"lists of {_LIST}": json.dumps(records).encode(),
    }
    print(describe())
    for workers in (1, 2):
        rates = measure(models, workers, bodies, options.rounds)
        told = ", ".join(f"{name} {rate:,.0f} answers/s" for name, rate in rates.items())
        print(f"AIMQ_WORKERS={workers}: {told}")


if __name__ == "__main__":
    main()
