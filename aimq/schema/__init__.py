"""One description of a record for training, requests, spreadsheets, OpenAPI and the page.

`model` describes, `records` encodes one record, `columns` encodes a table, `jsonschema` documents.
Training and serving encode through the same code, so that they cannot differ.
"""

from aimq.schema.columns import Columns, match_columns, read_columns
from aimq.schema.model import Feature, Schema, load_schema
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
