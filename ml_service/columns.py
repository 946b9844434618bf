"""Many records at once: a table in, predictions and errors by column out.

Everything here blocks: run it in a thread. pandas and pyarrow are imported with the first table,
so that the service starts without them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from aimq.errors import ClientError, Invalid, TooLarge
from aimq.schema import match_columns
from ml_service.float_format import shortest_doubles
from ml_service.version import Version

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Said of a row whose model answered with what is no finite number.
NOT_FINITE: Final = "the model gave no finite number for this row"


@dataclass(frozen=True, slots=True)
class TablePredictions:
    """Predictions of n rows.

    Attributes:
        values: float64 (n,), undefined where `errors` has a text.
        errors: object (n,), why a row has no prediction, or None.
        served: runtime to the number of rows that it predicted.
    """

    values: NDArray[np.float64]
    errors: NDArray[np.object_]
    served: Counter[str]


def predict_table(version: Version, model_format: str, frame: pd.DataFrame) -> TablePredictions:
    """Validate, encode and predict a table that has the schema's columns.

    Raises:
        TransientError: the runtime cannot answer now; no row is answered then.
    """
    from aimq.schema import read_columns  # noqa: PLC0415 # see above

    columns = read_columns(version.schema, frame)
    errors, valid = columns.errors, columns.valid
    values = np.zeros(len(frame), dtype=np.float64)
    served: Counter[str] = Counter()
    for index, group in enumerate(version.schema.groups):
        rows = valid & (columns.groups == index)
        if not rows.any():
            continue
        group_model = version.groups(model_format).get(group)
        if group_model is None:
            errors[rows] = f"{version.schema.group or 'model'}: {version.not_served(group)}"
            continue
        chosen: Any = slice(None) if rows.all() else rows
        predictions = group_model.predict(columns.matrix(chosen))
        served[predictions.served_by] += len(predictions.values)
        values[chosen] = shortest_doubles(predictions.values)
    errors[~np.isfinite(values)] = NOT_FINITE
    return TablePredictions(values, errors, served)


def read_stream(body: bytes, version: Version, max_rows: int) -> pd.DataFrame:
    """Read an Arrow stream into a table with the schema's columns.

    Raises:
        ClientError: not an Arrow stream.
        Invalid: a column is missing, or holds none of text, numbers, booleans and dates; names it.
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
    odd = {
        name: str(found.field(place).type)[:60]
        for name, place in places.items()
        if not _readable(found.field(place).type)
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


def _readable(kind: pa.DataType) -> bool:
    import pyarrow as pa  # noqa: PLC0415 # see above

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_date(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_null(kind)
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
    """Return the answer to an Arrow stream: prediction, error and model version by row."""
    import pyarrow as pa  # noqa: PLC0415 # see above

    wrong = np.array([error is not None for error in predictions.errors.tolist()], dtype=np.bool_)
    codes = pa.array(np.zeros(len(wrong), dtype=np.int32), mask=wrong)
    table = pa.table(
        {
            version.schema.prediction: pa.array(predictions.values, pa.float64(), mask=wrong),
            "error": pa.array(predictions.errors, pa.string()),
            "model_version": pa.DictionaryArray.from_arrays(codes, pa.array([version.name])),
        }
    )
    return _to_stream(table)


def _to_stream(table: pa.Table) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 # see above

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content
