"""Whether an ONNX file of somebody else fits a schema: its input, its output, and a trial run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from aimq.errors import Invalid
from aimq.schema import RecordEncoder, Schema, Task
from aimq.schema.jsonschema import example
from etl import onnx_graph
from etl.export import session

if TYPE_CHECKING:
    from onnx import ModelProto

#: Probabilities of a row may miss 1 by this much in float32.
_SUM: Final = 1e-3
#: Rows of the trial: the example record, with its numbers scaled.
_SCALES: Final = (1.0, 0.0, 0.5, 0.9, 1.1, 1.5, 2.0)

Matrix = NDArray[np.float32]


def checked(path: Path, schema: Schema, say: Callable[[str], None]) -> bytes:
    """Return a file's model with one input and one output as the ML service needs them.

    Args:
        say: gets what RedisAI cannot load.

    Raises:
        Invalid: the model is none, or does not fit the schema; says what to export.
    """
    model = onnx_graph.parse(path.read_bytes(), str(path))
    classes = schema.task is Task.CLASSIFICATION
    _check_input(path, _session(path, model), len(schema.matrix_columns))
    if classes:
        _check_labels(path, onnx_graph.labels(model), schema)
    onnx_graph.keep_one_output(model, probabilities=classes)
    loaded = _session(path, model)
    if loaded.get_outputs()[0].type != "tensor(float)":
        raise Invalid(_wanted(path, schema, f"its output is {loaded.get_outputs()[0].type}"))
    if _try(path, loaded, schema).ndim == 1:
        onnx_graph.as_column(model)
    onnx_graph.set_shapes(model, len(schema.matrix_columns), schema.outputs)
    answers = _try(path, _session(path, model), schema)
    if answers.shape[1] != schema.outputs:
        raise Invalid(_wanted(path, schema, f"it answers {answers.shape[1]} numbers per row"))
    if classes and not _probable(answers):
        raise Invalid(_wanted(path, schema, "its answers are not between 0 and 1 with a sum of 1"))
    reasons = onnx_graph.beyond_redisai(model)
    if reasons:
        say(
            f"Warning: RedisAI 1.2.7 cannot load {path.name}: {', '.join(reasons)}. The ML service "
            "answers with its own ONNX Runtime. For RedisAI export with opset 15 and ai.onnx.ml 3."
        )
    return bytes(model.SerializeToString())


def _session(path: Path, model: ModelProto) -> Any:  # noqa: ANN401 - onnxruntime publishes no types
    try:
        return session(model.SerializeToString())
    except Exception as exc:  # onnxruntime's exceptions share no base class
        raise Invalid(f"{path}: cannot be loaded by ONNX Runtime: {exc}") from exc


def _check_input(path: Path, loaded: Any, width: int) -> None:  # noqa: ANN401 - see _session
    """Refuse what is not one float matrix of any number of rows by ``width`` columns."""
    inputs = loaded.get_inputs()
    found = ", ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs) or "none"
    shape = inputs[0].shape if len(inputs) == 1 and inputs[0].type == "tensor(float)" else []
    any_rows = len(shape) == 2 and not isinstance(shape[0], int)  # noqa: PLR2004 - a matrix
    if not any_rows or (isinstance(shape[1], int) and shape[1] != width):
        raise Invalid(
            f"{path}: the input must be one float32 matrix of any number of rows by {width} "
            f"columns, those of the schema; it is {found}."
        )


def _check_labels(path: Path, labels: list[str], schema: Schema) -> None:
    """Refuse classes in an order of their own; a model that names none is believed."""
    if labels and labels != list(schema.classes):
        raise Invalid(
            f"{path}: its classes are {', '.join(labels)}; the schema has "
            f"{', '.join(schema.classes)}. Write them into the schema as the model has them, in "
            "the same order."
        )


def _try(path: Path, loaded: Any, schema: Schema) -> Matrix:  # noqa: ANN401 - see _session
    """Return the answers to a few rows. Raises `Invalid` unless each row has its own."""
    row = np.array(RecordEncoder(schema).encode(example(schema)).row, dtype=np.float32)
    scales = np.array(_SCALES, dtype=np.float32)[:, None]
    rows = np.where(schema.coded, row, row * scales).astype(np.float32)
    name = loaded.get_inputs()[0].name
    try:
        answers: Matrix = loaded.run(None, {name: rows})[0]
        alone = np.concatenate(
            [loaded.run(None, {name: rows[i : i + 1]})[0] for i in range(len(rows))]
        )
    except Exception as exc:  # onnxruntime's exceptions share no base class
        raise Invalid(f"{path}: a trial with {len(rows)} rows failed: {exc}") from exc
    if answers.ndim not in {1, 2} or len(answers) != len(rows):
        raise Invalid(_wanted(path, schema, f"a trial of {len(rows)} rows gave {answers.shape}"))
    if not np.isfinite(answers).all():
        raise Invalid(f"{path}: answers in a trial are infinite or no numbers.")
    if answers.shape != alone.shape or not np.allclose(answers, alone, rtol=1e-3, atol=1e-6):
        raise Invalid(f"{path}: answers to a row depend on the other rows asked with it.")
    return answers


def _probable(answers: Matrix) -> bool:
    within = (answers >= -_SUM) & (answers <= 1 + _SUM)
    return bool(within.all() and np.allclose(answers.sum(axis=1), 1, atol=_SUM))


def _wanted(path: Path, schema: Schema, found: str) -> str:
    if schema.task is Task.CLASSIFICATION:
        words = ", ".join(schema.classes)
        wanted = f"the probabilities of {words}, in this order, as a float32 matrix (no ZipMap)"
    else:
        wanted = "one float32 number per row"
    return f"{path}: {found}. Export {wanted}."
