"""The canary of a model: a version that answers a share of the single records.

It is kept in the file ``models/<name>/canary``, which every process follows, and holds beside one
current version only: with another current, however that came, it has ended.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Final

import msgspec

FILE: Final = "canary"

Percent = Annotated[int, msgspec.Meta(ge=1, le=100)]


class Canary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version answers which share.

    Attributes:
        percent: of single records, 1 to 100.
        beside: the version that was current when the canary began.
    """

    version: str
    percent: Percent
    beside: str

    def takes(self, drawn: float) -> bool:
        """Return whether a record is the canary's, by a number drawn from [0, 1)."""
        return drawn * 100 < self.percent


def read(home: Path) -> Canary | None:
    """Return what the file in a model's folder says; None without one, or when it is damaged."""
    try:
        return msgspec.json.decode((home / FILE).read_bytes(), type=Canary)
    except (OSError, msgspec.MsgspecError):
        return None


def write(home: Path, canary: Canary | None) -> None:
    """Replace the file in one step, or remove it. Raises `OSError`."""
    if canary is None:
        (home / FILE).unlink(missing_ok=True)
    else:
        replace_file(home / FILE, msgspec.json.encode(canary))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file beside and rename it, so that a reader sees all of it. Raises `OSError`."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    beside.write_bytes(content)
    beside.replace(path)
