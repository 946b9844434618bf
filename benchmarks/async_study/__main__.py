"""Run the study: tables to standard output and into the document, CSV and plots to a folder.

make bench-async
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.async_study import bursts, latency, predictions, push
from benchmarks.async_study.stage import Servers, Stage, percentile, servers, stage
from benchmarks.machine import describe
from benchmarks.plot import Axis, bars, lines
from benchmarks.tables import markdown, put, write_csv

#: Rounds of the parts that take little time.
_REPEATS = 9
_DOCUMENT = Path("docs/async-vs-sync.md")


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--output", type=Path, default=Path("assets/plots"))
    parser.add_argument("--clients", type=int, nargs="+", default=list(latency.CLIENTS))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=1, help="of the latency study")
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=list(_PARTS))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    models = options.models.absolute()
    with servers() as used:
        for part in options.parts:
            _PARTS[part](used, models, options)


def _first(used: Servers, models: Path, options: argparse.Namespace) -> None:
    with stage(used, 14, models) as on_stage:
        rows = latency.saturated(on_stage, options.clients, _REPEATS)
    put(_DOCUMENT, "first-response", f"{_REPEATS} rounds; {describe()}.\n\n{markdown(rows)}")
    write_csv(options.output / "async-first-response.csv", rows)


def _pushed(used: Servers, models: Path, _: argparse.Namespace) -> None:
    with stage(used, 1, models) as on_stage:
        push.push(on_stage, 20, shared=True)  # warm
        _push({
            "200 watchers, a task each": push.push(on_stage, 200, shared=False),
            "200 watchers of one task": [
                delay for _ in range(5) for delay in push.push(on_stage, 200, shared=True)
            ],
        })  # fmt: skip


def _predicted(used: Servers, models: Path, _: argparse.Namespace) -> None:
    with (
        stage(used, 2, models) as on_stage,
        _log() as log,
        predictions.contestants(on_stage, used, log) as both,
    ):
        _predictions(both)
    with stage(Servers(), 0, models) as on_stage:
        embedded = predictions.Contestant("embedded", on_stage.system.url, lambda: 0)
        times = predictions.single(embedded, 200)
    put(
        _DOCUMENT,
        "embedded",
        f"On the embedded default: {_ms(times, 50)} ms p50, {_ms(times, 95)} ms p95.",
    )


def _compared(used: Servers, models: Path, options: argparse.Namespace) -> None:
    with stage(used, 13, models) as on_stage:
        _latency(latency_rounds(on_stage, options), options.output)


def _burst(used: Servers, models: Path, options: argparse.Namespace) -> None:
    found = []
    for number, workers in enumerate(options.workers, start=3):
        with stage(used, number, models, workers=workers) as on_stage:
            found.append(bursts.burst(on_stage, workers))
    _bursts(found, options.output)


_PARTS: Final[dict[str, Callable[[Servers, Path, argparse.Namespace], None]]] = {
    "first": _first,
    "push": _pushed,
    "predictions": _predicted,
    "latency": _compared,
    "bursts": _burst,
}


def latency_rounds(on_stage: Stage, options: argparse.Namespace) -> list[latency.Row]:
    """Repeat the latency study; return the median of each figure."""
    rounds = [latency.study(on_stage, options.clients) for _ in range(options.rounds)]
    return [latency.medians(rows) for rows in zip(*rounds, strict=True)]


@contextlib.contextmanager
def _log() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "rival.log"


def _latency(rows: Sequence[latency.Row], folder: Path) -> None:
    table = [asdict(row) for row in rows]
    put(_DOCUMENT, "latency", f"no={latency.NO:,}; {describe()}.\n\n{markdown(table)}")
    write_csv(folder / "async-vs-sync.csv", table)
    series = {
        f"{endpoint} {name}": [
            (row.clients, getattr(row, field)) for row in rows if row.endpoint == endpoint
        ]
        for endpoint in ("synchronous", "asynchronous")
        for name, field in (("p50", "first_p50"), ("p99", "first_p99"))
    }
    _plot_latency(series, folder)


def _plot_latency(series: dict[str, list[tuple[float, float]]], folder: Path) -> None:
    """Draw both: what a client feels, and what the flat line looks like from close by."""
    for log, name in ((False, "async-vs-sync"), (True, "async-vs-sync-log")):
        plot = lines(
            "First response by number of clients, both workers saturated",
            Axis("clients at once", log=True),
            Axis("first response, ms", log=log),
            series,
        )
        (folder / f"{name}.svg").write_text(plot, encoding="utf-8")


def _push(delays: dict[str, list[float]]) -> None:
    table = [
        {"scenario": name, "messages": len(each), "p50 ms": _ms(each, 50), "p95 ms": _ms(each, 95)}
        for name, each in delays.items()
    ]
    put(_DOCUMENT, "push", markdown(table))


def _predictions(both: Sequence[predictions.Contestant], rounds: int = 7) -> None:
    times: dict[str, list[tuple[float, float]]] = {each.name: [] for each in both}
    for _ in range(rounds):
        for each in both:
            times[each.name].append(predictions.burst(each, 1000))
    table = []
    for each in both:
        idle = predictions.single(each, 200)
        table.append({
            "": each.name,
            "1,000 accepted, s": round(statistics.median(t[0] for t in times[each.name]), 3),
            "1,000 done, s": round(statistics.median(t[1] for t in times[each.name]), 3),
            "one, idle: p50 ms": _ms(idle, 50),
            "p95 ms": _ms(idle, 95),
        })  # fmt: skip
    about = f"{predictions.CLIENTS} clients, medians of {rounds} rounds; {describe()}."
    put(_DOCUMENT, "predictions", f"{about}\n\n{markdown(table)}")


def _bursts(found: Sequence[bursts.Burst], folder: Path) -> None:
    put(_DOCUMENT, "bursts", f"Seconds.\n\n{markdown([asdict(each) for each in found])}")
    plot = bars(
        "100 tasks at once, by number of workers",
        Axis("seconds", log=True),
        {
            f"{each.workers} workers": {"all accepted": each.accepted, "all done": each.done}
            for each in found
        },
    )
    (folder / "async-bursts.svg").write_text(plot, encoding="utf-8")


def _ms(values: Sequence[float], percent: float) -> float:
    return round(1000 * percentile(values, percent), 2)


if __name__ == "__main__":
    main()
