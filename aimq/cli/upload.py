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
from aimq.settings import load_settings

_FINAL = {"done", "failed", "cancelled"}


def upload(
    file: Annotated[Path, typer.Argument(help="The .xlsx to score.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where the result goes.")
    ] = None,
) -> None:
    """Upload a spreadsheet, watch it progress, and download the result."""
    if not file.is_file():
        raise ClientError(f"{file}: no such file")
    target = output or file.with_name(f"{file.stem}_predicted.xlsx")
    with Client(load_settings()) as client:
        job = score(client, file, target)
    _report(job, target)


def score(client: Client, file: Path, target: Path) -> dict[str, Any]:
    """Upload `file`, wait with a progress bar, write the result to `target`; return the job.

    The folder of `target` is made before anything is uploaded.

    Raises:
        ClientError: the file cannot be read, or the result cannot be written.
    """
    with _on_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with _on_disk(file), file.open("rb") as stream:
        accepted = client.json("POST", "/upload", files={"file": (file.name, stream)})
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
    print(f"{target}: {rows:,} rows{bad}")
    for note in job["notes"]:
        print(f"  {note}")
