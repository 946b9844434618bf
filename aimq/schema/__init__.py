"""One description of a record for training, requests, spreadsheets, OpenAPI and the page.

`model` describes, `headers` finds a table's columns, `records` encodes one record, `columns`
encodes a table, `jsonschema` documents. Training and serving encode through the same code, so that
they cannot differ.
"""

from typing import TYPE_CHECKING

from aimq.schema.headers import match_columns
from aimq.schema.model import Feature, Schema, load_schema

if TYPE_CHECKING:
    from aimq.schema.columns import Columns, read_columns
    from aimq.schema.records import Encoded, RecordEncoder

__all__ = [
    "Columns",
    "Encoded",
    "Feature",
    "RecordEncoder",
    "Schema",
    "load_schema",
    "match_columns",
    "read_columns",
]


def __getattr__(name: str) -> object:
    """Load the encoders, with pandas and pyarrow, only where they are used (PEP 562)."""
    if name in {"Columns", "read_columns"}:
        from aimq.schema import columns  # noqa: PLC0415 # see above

        return getattr(columns, name)
    if name in {"Encoded", "RecordEncoder"}:
        from aimq.schema import records  # noqa: PLC0415 # see above

        return getattr(records, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
