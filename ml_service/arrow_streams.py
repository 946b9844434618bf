"""Arrow streams: read into a table with the schema's columns, written from its predictions.

Everything here blocks: run it in a thread. pandas and pyarrow are imported with the first table,
so that the service starts without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from aimq.errors import ClientError, Invalid, TooLarge
from aimq.schema import FeatureType, match_columns
from ml_service.columns import TablePredictions
from ml_service.version import Version

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def read_stream(body: bytes, version: Version, max_rows: int) -> pd.DataFrame:
    """Read an Arrow stream into a table with the schema's columns.

    Raises:
        ClientError: not an Arrow stream.
        Invalid: a column is missing, or holds neither text nor numbers, nor dates where the schema
            has a date; names it.
        TooLarge: more than `max_rows` rows.
        UnsupportedMedia: compressed.
    """
    import pyarrow as pa  # noqa: PLC0415 # see above

    from ml_service.arrow_guard import refuse_compressed  # noqa: PLC0415 # see above

    try:
        refuse_compressed(body)
        with pa.ipc.open_stream(body) as reader:
            places = _places(version, reader.schema)
            table = _read_rows(reader, list(places.values()), max_rows)
        table.validate(full=True)  # offsets and codes that point elsewhere
        frame: pd.DataFrame = table.rename_columns(list(places)).to_pandas(
            ignore_metadata=True, date_as_object=False
        )
    except (pa.ArrowException, OSError, MemoryError, LookupError, TypeError, ValueError) as exc:
        raise ClientError(f"The body is not a readable Arrow stream: {str(exc)[:200]}") from None
    return frame


def _places(version: Version, found: pa.Schema) -> dict[str, int]:
    """Return where the schema's columns lie in a stream's."""
    places, missing = match_columns(version.schema, found.names)
    if missing:
        raise Invalid(
            f"Columns missing: {', '.join(missing)}.",
            errors=[{"field": name, "message": "is missing"} for name in missing],
        )
    dates = {f.name for f in version.schema.features if f.type is FeatureType.DATE}
    odd = {
        name: str(found.field(place).type)[:60]
        for name, place in places.items()
        if not _readable(found.field(place).type, dates=name in dates)
    }
    if odd:
        raise Invalid(
            f"Columns of a type that is not read here: {', '.join(odd)}.",
            errors=[
                {
                    "field": name,
                    "message": f"holds {kind}, no text, numbers or dates",
                    "given": kind,
                }
                for name, kind in odd.items()
            ],
        )
    return places


def _readable(kind: pa.DataType, *, dates: bool) -> bool:
    import pyarrow as pa  # noqa: PLC0415 # see above

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
        or (dates and (pa.types.is_date(kind) or pa.types.is_timestamp(kind)))
    )


def _read_rows(reader: pa.RecordBatchReader, places: list[int], max_rows: int) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 # see above

    batches, rows = [], 0
    for batch in reader:
        rows += batch.num_rows
        if rows > max_rows:
            raise TooLarge(f"More than {max_rows:,} rows in one request.")
        batches.append(batch.select(places))
    return pa.Table.from_batches(batches, pa.schema([reader.schema.field(at) for at in places]))


def write_stream(version: Version, predictions: TablePredictions) -> bytes:
    """Return the answer to an Arrow stream.

    Its columns: those of the predictions, ``error``, ``warning`` if the schema asks for warnings,
    and ``model_version``. Classes and versions are dictionaries.
    """
    import pyarrow as pa  # noqa: PLC0415 # see above

    schema = version.schema
    wrong = np.array([error is not None for error in predictions.errors.tolist()], dtype=np.bool_)
    columns = {name: pa.array(each, mask=wrong) for name, each in predictions.columns.items()}
    if schema.classes:
        codes = columns[schema.prediction]
        columns[schema.prediction] = pa.DictionaryArray.from_arrays(codes, list(schema.classes))
    columns["error"] = pa.array(predictions.errors, pa.string())
    if schema.warn:
        columns["warning"] = pa.array(predictions.warnings, pa.string())
    codes = pa.array(np.zeros(len(wrong), dtype=np.int32), mask=wrong)
    columns["model_version"] = pa.DictionaryArray.from_arrays(codes, pa.array([version.name]))
    return _to_stream(pa.table(columns))


def _to_stream(table: pa.Table) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 # see above

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content
