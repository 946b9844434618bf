"""``aimq dead-letters``: list, show, replay and delete dead letters."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from aimq.cli.client import Client
from aimq.settings import load_settings

app = typer.Typer(
    help="Messages that failed for good: list, show, replay, delete.", no_args_is_help=True
)

Id = Annotated[str, typer.Argument(help="Id of the dead letter.", show_default=False)]


@app.command("list")
def list_(limit: Annotated[int, typer.Option(min=1, max=1000)] = 50) -> None:
    """List dead letters, oldest first."""
    with Client(load_settings()) as client:
        found = client.json("GET", "/dead-letters", params={"limit": limit})
    table = Table(box=None, pad_edge=False)
    for heading in ("ID", "QUEUE", "ATTEMPTS", "LAST FAILED", "ERROR"):
        table.add_column(heading, overflow="fold")
    for letter in found:
        when = (letter["last_failed_at"] or "")[:19].replace("T", " ")
        error = f"{letter['error_type']}: {letter['error']}"
        table.add_row(letter["id"], letter["queue"], str(letter["attempts"]), when, error)
    Console().print(table if found else "No dead letters.")


@app.command()
def show(dead_letter: Id) -> None:
    """Show one dead letter: payload, error, traceback, attempts, times, history."""
    with Client(load_settings()) as client:
        Console().print_json(data=client.json("GET", f"/dead-letters/{dead_letter}"))


@app.command()
def replay(
    dead_letter: Annotated[str, typer.Argument(help="Id of the dead letter.")] = "",
    all_: Annotated[bool, typer.Option("--all", help="Replay every dead letter.")] = False,
) -> None:
    """Put a dead letter, or all, back on the queue with fresh attempts."""
    if bool(dead_letter) == all_:
        raise typer.BadParameter("name one dead letter, or say --all")
    path = "/dead-letters/replay" if all_ else f"/dead-letters/{dead_letter}/replay"
    with Client(load_settings()) as client:
        answer: dict[str, Any] = client.json("POST", path)
    print(f"replayed {answer['replayed']:,}" if all_ else f"replayed {dead_letter}")


@app.command()
def delete(dead_letter: Id) -> None:
    """Delete a dead letter for good."""
    with Client(load_settings()) as client:
        client.call("DELETE", f"/dead-letters/{dead_letter}")
    print(f"deleted {dead_letter}")
