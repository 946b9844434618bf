"""Exit code 2 for what the user of a command can mend: a table, a schema, a choice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from aimq.errors import ClientError


@contextmanager
def mendable() -> Iterator[None]:
    """End the command with one line and exit code 2 where the block raises a `ClientError`."""
    try:
        yield
    except ClientError as exc:
        print(f"aimq: {exc.detail}", file=sys.stderr)
        raise typer.Exit(2) from None
