"""``aimq jobs``: what was uploaded and how it stands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from aimq.cli.client import Client
from aimq.jobs.job import Status
from aimq.settings import load_settings


def jobs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    status: Annotated[Status | None, typer.Option(help="Only those in this state.")] = None,
) -> None:
    """List jobs, newest first."""
    query: dict[str, str | int] = {"limit": limit} | ({"status": status.value} if status else {})
    with Client(load_settings()) as client:
        found = client.json("GET", "/jobs", params=query)
    table = Table(box=None, pad_edge=False)
    for heading in ("JOB", "STATUS", "DONE", "ROWS", "MODEL", "FILE", "CREATED", "ERROR"):
        table.add_column(heading, overflow="fold")
    for job in found:
        table.add_row(
            job["job_id"],
            job["status"],
            str(job["rows_done"]),
            str(job["rows_total"] if job["rows_total"] is not None else "-"),
            job["model"],
            _what(job),
            job["created_at"][:19].replace("T", " "),
            job["error"] or "",
        )
    Console().print(table if found else "No jobs.")


def _what(job: dict[str, Any]) -> str:
    """Return what a job is about: its file; of a training that it is one."""
    name: str = job["filename"] or job["kind"]
    return f"{name} (training)" if job["kind"] == "training" else name
