"""What the interface asks of a training, as it stands in the job's `input`. Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

#: Endings of the tables that can be trained from.
ENDINGS: Final = (".csv", ".xlsx", ".parquet")
#: What a model may be called: a folder's name everywhere, and no path.
MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
#: Longest name of a column, in characters.
MAX_COLUMN: Final = 200


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """How a table is trained from; the model's name is the job's `model`.

    Attributes:
        target: column to predict.
        ending: of the table's file, one of `ENDINGS`.
        group: column whose values have a model each; empty for one model.
        task: ``regression`` or ``classification``; empty: chosen by the target's values.
    """

    target: str
    ending: str
    group: str = ""
    task: str = ""


def model_name(filename: str) -> str:
    """Return a valid name for a model from that of its table: ``My Houses.csv`` → ``my_houses``."""
    stem = filename.rpartition(".")[0] or filename
    name = re.sub(r"[^a-z0-9]+", "_", stem.casefold()).strip("_")[:64].rstrip("_")
    return name or "table"
