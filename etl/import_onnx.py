"""Publishing ONNX files that were made elsewhere: checked and tried, not trained."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import tomli_w
from numpy.typing import NDArray

from aimq.errors import Invalid, NotFound, TooLarge
from aimq.published import Manifest
from aimq.schema import RecordEncoder, Schema, Task
from aimq.schema.jsonschema import example
from aimq.schema.model import parse_schema
from aimq.settings import Settings
from etl import onnx_graph
from etl.described_table import given_schema
from etl.publish import check_names, stage

if TYPE_CHECKING:
    from onnx import ModelProto

#: Largest file, in bytes. Forests of 500 deep trees have a tenth of it.
LARGEST: Final = 500_000_000
#: Probabilities of a row may miss 1 by this much in float32.
_SUM: Final = 1e-3
#: Rows of the trial: the example record, with its numbers scaled.
_SCALES: Final = (1.0, 0.0, 0.5, 0.9, 1.1, 1.5, 2.0)

Matrix = NDArray[np.float32]


def run(
    settings: Settings,
    source: Path,
    schema: Path,
    *,
    name: str = "",
    say: Callable[[str], None] = print,
) -> Manifest:
    """Check ONNX files and publish them as one version, without pickles.

    Args:
        source: an ONNX file; for a schema with groups a folder with ``<group>.onnx`` for each.
        schema: a ``schema.toml``, which says what the columns of the input are.
        name: of the model, instead of the schema's.
        say: gets what a person should know, such as what RedisAI cannot load.

    Raises:
        ClientError: a file is missing, too large, or not such a model; says what to export.
        FilesUnavailable: the models' folder cannot be written.
    """
    described = given_schema(schema)
    if name:
        described = parse_schema({**described.source, "name": name})
    check_names(described)
    files = _files(described, source)
    contents = {group: _checked(path, described, say) for group, path in files.items()}
    with stage(settings.models_dir, described.name) as staging:
        sizes = {
            group: {"chosen": "imported", "onnx_bytes": staging.write(f"{group}.onnx", content)}
            for group, content in contents.items()
        }
        metrics = {"task": described.task, "left_out": {}, "groups": sizes}
        staging.write("schema.toml", tomli_w.dumps(dict(described.source)).encode())
        staging.write("encoder.json", _json(described.encoder()))
        staging.write("metrics.json", _json(metrics))
        manifest = _manifest(described, f"not trained here: imported from {source.name}")
        return staging.publish(manifest, datetime.now(UTC), settings.keep_versions)


def _files(schema: Schema, source: Path) -> dict[str, Path]:
    """Return the file of each group."""
    if schema.group is None:
        files = {schema.groups[0]: source}
    elif source.is_dir():
        files = {group: source / f"{group}.onnx" for group in schema.groups}
    else:
        wanted = ", ".join(f"{group}.onnx" for group in schema.groups)
        raise Invalid(
            f"{source}: the schema has one model for each {schema.group}: give a folder with "
            f"{wanted}, or take [group] out of the schema."
        )
    for path in files.values():
        if not path.is_file():
            raise NotFound(f"{path}: no such file.")
        if path.stat().st_size > LARGEST:
            raise TooLarge(f"{path}: is over {LARGEST // 1_000_000} MB.")
    return files


def _checked(path: Path, schema: Schema, say: Callable[[str], None]) -> bytes:
    """Return the file's model with one input and one output as the ML service needs them."""
    model = onnx_graph.parse(path.read_bytes(), str(path))
    classes = schema.task is Task.CLASSIFICATION
    _check_input(path, _session(path, model), len(schema.matrix_columns))
    if classes:
        _check_labels(path, onnx_graph.labels(model), schema)
    onnx_graph.keep_one_output(model, probabilities=classes)
    session = _session(path, model)
    if session.get_outputs()[0].type != "tensor(float)":
        raise Invalid(_wanted(path, schema, f"its output is {session.get_outputs()[0].type}"))
    if _try(path, session, schema).ndim == 1:
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
    from aimq.ort import onnxruntime  # noqa: PLC0415 - slow to import

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as exc:  # onnxruntime's exceptions share no base class
        raise Invalid(f"{path}: cannot be loaded by ONNX Runtime: {exc}") from exc


def _check_input(path: Path, session: Any, width: int) -> None:  # noqa: ANN401 - see _session
    """Refuse what is not one float matrix of any number of rows by ``width`` columns."""
    inputs = session.get_inputs()
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


def _try(path: Path, session: Any, schema: Schema) -> Matrix:  # noqa: ANN401 - see _session
    """Return the answers to a few rows. Raises `Invalid` unless each row has its own."""
    row = np.array(RecordEncoder(schema).encode(example(schema)).row, dtype=np.float32)
    scales = np.array(_SCALES, dtype=np.float32)[:, None]
    rows = np.where(schema.coded, row, row * scales).astype(np.float32)
    name = session.get_inputs()[0].name
    try:
        answers: Matrix = session.run(None, {name: rows})[0]
        alone = np.concatenate([session.run(None, {name: rows[i : i + 1]})[0] for i in range(7)])
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


def _manifest(schema: Schema, data: str) -> Manifest:
    return Manifest(
        name=schema.name,
        version="",
        groups=list(schema.groups),
        files={},
        created_at="",
        data=data,
    )


def _json(content: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content))
