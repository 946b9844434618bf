"""``aimq models``: what is served, which version of it, and how good it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from aimq.cli.client import Client
from aimq.settings import load_settings

app = typer.Typer(help="List models; choose which version of one is served.")

#: Metrics that are shown, the first that a model has.
_METRICS: Final = ("mae", "accuracy")
#: Groups, and versions, whose cells are written out.
_LISTED: Final = 5
#: Columns of a table that nobody looks at in a terminal.
_WIDTH: Final = 160
#: Scores from here on are shown as whole numbers.
_WHOLE: Final = 1_000
_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60

Name = Annotated[str, typer.Argument(help="Name of the model.", show_default=False)]


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List models; choose which version of one is served."""
    if context.invoked_subcommand is not None:
        return
    with Client(load_settings()) as client:
        found = client.json("GET", "/models")["models"]
    table = Table(box=None, pad_edge=False)
    for heading in (
        "NAME",
        "TASK",
        "VERSION",
        "AGE",
        "CANARY",
        "SCORE (TRIVIAL MODEL)",
        "VERSIONS",
    ):
        table.add_column(heading, overflow="fold")
    for model in found:
        table.add_row(*_row(model, datetime.now(UTC)))
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table if found else "No models.")


@app.command()
def use(
    name: Name,
    version: Annotated[str, typer.Argument(help="One of its versions.", show_default=False)],
    canary: Annotated[
        int | None,
        typer.Option(
            min=0, max=100, help="Per cent of single records that it answers; 0 ends a canary."
        ),
    ] = None,
) -> None:
    """Serve a version, or have it answer a share of the single records beside the current one."""
    with Client(load_settings()) as client:
        if canary is None:
            client.json("POST", _path(name, "reload"), json={"version": version})
            print(f"{name}: version {version} is served")
            return
        share = {"version": version, "percent": canary}
        client.json("POST", _path(name, "canary"), json=share)
    said = f"version {version} answers {canary} % of single records" if canary else "no canary"
    print(f"{name}: {said}")


@app.command()
def rollback(name: Name) -> None:
    """Serve the newest version that is older than the current one."""
    with Client(load_settings()) as client:
        served = client.json("POST", _path(name, "rollback"))
    print(f"{name}: version {served['version']} is served")


def _path(name: str, what: str) -> str:
    """Return a path of the interface; dots are quoted, for ``.`` and ``..`` would change it."""
    return f"/models/{quote(name, safe='').replace('.', '%2E')}/{what}"


def _row(model: Mapping[str, Any], now: datetime) -> tuple[str, ...]:
    """Return the cells of a model, an entry of ``GET /models``."""
    canary, version = model["canary"], model["version"]
    versions = model["versions"]
    newest = list(reversed(versions))[:_LISTED]
    more = [f"and {len(versions) - _LISTED} more"] if len(versions) > _LISTED else []
    return (
        f"{model['name']} (default)" if model["default"] else model["name"],
        model["task"] or "-",
        version or f"none: {model['error'] or 'not loaded yet'}",
        age(version, now) if version else "-",
        f"{canary['version']} {canary['percent']} %" if canary else "-",
        "\n".join(_scores(model)) or "-",
        "\n".join([*newest, *more]),
    )


def _scores(model: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each group: the model's score, the trivial model's behind it."""
    groups = model["scores"]
    for group in list(groups)[:_LISTED]:
        scores, trivial = groups[group] or {}, model["baselines"].get(group) or {}
        metric = next((metric for metric in _METRICS if metric in scores), None)
        if metric is None:
            continue
        beside = f" ({_figure(trivial[metric])})" if metric in trivial else ""
        label = f"{group}: " if model["group"] else ""
        yield f"{label}{metric} {_figure(scores[metric])}{beside}"
    if len(groups) > _LISTED:
        yield f"and {len(groups) - _LISTED} more groups"


def _figure(score: float) -> str:
    """Return a score with four digits or more, and none behind the point from 1,000 on."""
    return f"{score:,.0f}" if abs(score) >= _WHOLE else f"{score:.4g}"


def age(version: str, now: datetime) -> str:
    """Return how old a version is by its name, a UTC time; "-" if it is none. Pure."""
    try:
        made = datetime.strptime(version[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return "-"
    seconds = max((now - made).total_seconds(), 0)
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:.0f} s"
