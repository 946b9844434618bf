"""One description of a record for training, requests, spreadsheets, OpenAPI and the page.

`model` and `feature` hold the description, `parsing` reads it, `headers` finds a table's columns,
`records` encodes one record, `columns` a table, `jsonschema` documents a record, `error_texts`
words what is wrong.
Training and serving encode through the same code, so they cannot differ.
"""

from typing import TYPE_CHECKING

from aimq.schema.headers import match_columns
from aimq.schema.model import Feature, FeatureType, Schema, Task, load_schema
from aimq.schema.records import Encoded, RecordEncoder

if TYPE_CHECKING:
    from aimq.schema.columns import Columns, read_columns

__all__ = [
    "Columns",
    "Encoded",
    "Feature",
    "FeatureType",
    "RecordEncoder",
    "Schema",
    "Task",
    "load_schema",
    "match_columns",
    "read_columns",
]


def __getattr__(name: str) -> object:
    """Load pandas and pyarrow only where a table is encoded (PEP 562)."""
    if name in {"Columns", "read_columns"}:
        from aimq.schema import columns  # noqa: PLC0415 # see above

        return getattr(columns, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
