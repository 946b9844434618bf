"""``aimq upload``: a spreadsheet in, the spreadsheet with predictions out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aimq.cli.client import Client
from aimq.errors import AimqError, ClientError, TransientError
from aimq.profile import LEAST_INTERVAL, MOST_INTERVAL
from aimq.settings import load_settings

_FINAL = {"done", "failed", "cancelled"}


def upload(
    file: Annotated[Path, typer.Argument(help="The .xlsx to score.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where the result goes.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Name of the model; without it, the one whose columns the file has.")
    ] = "",
    interval: Annotated[
        int | None,
        typer.Option(
            min=LEAST_INTERVAL,
            max=MOST_INTERVAL,
            help="Per cent that prediction intervals cover.",
        ),
    ] = None,
) -> None:
    """Upload a spreadsheet, watch it progress, and download the result."""
    if not file.is_file():
        raise ClientError(f"{file}: no such file")
    target = output or file.with_name(f"{file.stem}_predicted.xlsx")
    with Client(load_settings()) as client:
        job = score(client, file, target, model=model, interval=interval)
    _report(job, target)


def score(
    client: Client, file: Path, target: Path, *, model: str = "", interval: int | None = None
) -> dict[str, Any]:
    """Upload `file`, wait with a progress bar, write the result to `target`; return the job.

    The folder of `target` is made before anything is uploaded.

    Args:
        model: its name; empty for the one whose columns the file has.
        interval: per cent that prediction intervals are to cover; None for none.

    Raises:
        ClientError: the file cannot be read, or the result cannot be written.
    """
    with _on_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    asked = {"model": model, "interval": interval}
    with _on_disk(file), file.open("rb") as stream:
        query = {name: str(value) for name, value in asked.items() if value}
        form = {"file": (file.name, stream)}
        accepted = client.json("POST", "/upload", params=query, files=form)
    job = watch(client, accepted["job_id"])
    if job["status"] != "done":
        raise AimqError(f"{file.name}: {job['status']}: {job['error']}")
    beside = target.with_name(f".{target.name}.part")
    content = client.call("GET", f"/jobs/{job['job_id']}/result").content
    with _on_disk(target):
        beside.write_bytes(content)
        beside.replace(target)
    return job


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ClientError(f"{path}: {exc.strerror or exc}") from exc


def watch(client: Client, job_id: str) -> dict[str, Any]:
    """Show a job's progress until it is final, and return it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("queued", total=None)
        pause = 0.02
        while True:
            job = _job(client, job_id)
            progress.update(
                bar,
                description=job["status"],
                total=job["rows_total"],
                completed=job["rows_done"],
            )
            if job["status"] in _FINAL:
                return job
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)


def _job(client: Client, job_id: str, tries: int = 30) -> dict[str, Any]:
    """Ask for a job; a service that restarts meanwhile is asked again."""
    for left in range(tries, 0, -1):
        try:
            job: dict[str, Any] = client.json("GET", f"/jobs/{job_id}")
        except TransientError:
            if left == 1:
                raise
            time.sleep(0.5)
        else:
            return job
    raise AssertionError("unreachable")


def _report(job: dict[str, Any], target: Path) -> None:
    rows, failed = job["rows_total"], job["rows_failed"]
    bad = f", {failed:,} without a prediction (see its `error` column)" if failed else ""
    versions = ", ".join(sorted(set(job["model_versions"].values())))
    print(f"{target}: {rows:,} rows{bad}")
    if versions:
        print(f"  scored by {job['model']}, version {versions}")
    for note in job["notes"]:
        print(f"  {note}")
