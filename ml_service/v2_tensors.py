"""Tensors of the Open Inference Protocol as records, and predictions as a tensor."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from aimq.errors import AimqError, ClientError, InternalError, Invalid
from aimq.schema import Feature, Schema
from aimq.schema.model import FeatureType
from ml_service.records import Outcome
from ml_service.version import Version

_NUMBERS: Final = frozenset(
    ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64")
)
_DATATYPES: Final = {
    FeatureType.NUMBER: "FP64", FeatureType.INTEGER: "INT64", FeatureType.BOOLEAN: "BOOL",
}  # fmt: skip
#: Wrong rows that one error describes.
_DESCRIBED: Final = 5


class Tensor(msgspec.Struct, frozen=True):
    """A tensor; `data` is flat or nested, row by row."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class Wanted(msgspec.Struct, frozen=True):
    """An output that is asked for."""

    name: str


class InferRequest(msgspec.Struct, frozen=True):
    """Body of an inference; what the protocol has besides is passed over."""

    inputs: list[Tensor]
    id: str | None = None
    outputs: list[Wanted] | None = None


class InferResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answer to an inference."""

    model_name: str
    model_version: str
    outputs: list[Tensor]
    id: str | None = None


def read_rows(version: Version, asked: InferRequest) -> list[dict[str, Any]]:
    """Return the tensors as records.

    Raises:
        ClientError: a tensor is missing, of another type or shape; or an output is unknown. A
            tensor of a field that may be blank may be missing; blank text in one is a blank.
    """
    schema = version.schema
    outputs = _outputs(schema)
    for wanted in asked.outputs or ():
        if wanted.name not in outputs:
            raise ClientError(
                f"Unknown output {wanted.name[:80]!a}: there is {', '.join(outputs)}."
            )
    tensors = {tensor.name: tensor for tensor in asked.inputs}
    missing = [name for name in schema.required if name not in tensors]
    given = [feature for feature in schema.fields if feature.name in tensors]
    if missing or not given:
        raise ClientError(f"Inputs missing: {', '.join(missing or schema.columns)}.")
    count = len(asked.inputs[0].data) if asked.inputs[0].shape else 0
    names = [feature.name for feature in given]
    columns = [_column(feature, tensors[feature.name], count) for feature in given]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _column(feature: Feature, tensor: Tensor, count: int) -> list[Any]:
    name, datatype = tensor.name, _datatype(feature)
    if tensor.datatype != datatype and not (feature.numeric and tensor.datatype in _NUMBERS):
        expected = "a number type" if feature.numeric else datatype
        raise ClientError(f"Input {name}: datatype must be {expected}, not {tensor.datatype[:20]}.")
    if tensor.shape not in ([count], [count, 1]):
        raise ClientError(
            f"Input {name}: shape must be [{count}] or [{count}, 1] as the first input's, "
            f"not {str(tensor.shape)[:80]}."
        )
    data = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in tensor.data]
    if len(data) != count:
        raise ClientError(f"Input {name}: {len(data)} values for shape {tensor.shape}.")
    return data


def encode(version: Version, asked: InferRequest, outcomes: list[Outcome]) -> bytes:
    """Return the response.

    Raises:
        Invalid: rows are wrong; says which and why. The protocol has no error for a row.
        InternalError: the model gave no number.
    """
    errors = [
        (row, outcome) for row, outcome in enumerate(outcomes) if isinstance(outcome, AimqError)
    ]
    if errors:
        described = "; ".join(
            f"row {row}: {_sentence(error)}" for row, error in errors[:_DESCRIBED]
        )
        more = f"; and {len(errors) - _DESCRIBED} more rows" if len(errors) > _DESCRIBED else ""
        kind = Invalid if all(isinstance(error, Invalid) for _, error in errors) else InternalError
        raise kind(described + more)
    answers = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    wanted = {output.name for output in asked.outputs or ()}
    outputs = [
        Tensor(name, [len(answers)], datatype, [answer[name] for answer in answers])
        for name, datatype in _outputs(version.schema).items()
        if not wanted or name in wanted
    ]
    response = InferResponse(version.manifest.name, version.name, outputs, asked.id)
    return msgspec.json.encode(response)


def _outputs(schema: Schema) -> dict[str, str]:
    """Return the output tensors: name to data type."""
    if schema.classes:
        return {schema.prediction: "BYTES", "probability": "FP64"}
    return {schema.prediction: "FP64"}


def _sentence(error: AimqError) -> str:
    fields = [f"{entry['field']} {entry['message']}" for entry in error.errors]
    return ", ".join(fields) or error.detail


def metadata(version: Version) -> dict[str, Any]:
    """Return the metadata of the model."""
    schema = version.schema
    inputs = [{"name": f.name, "datatype": _datatype(f), "shape": [-1]} for f in schema.fields]
    return {
        "name": version.manifest.name,
        "versions": [version.name],
        "platform": "onnx_onnxv1",
        "inputs": inputs,
        "outputs": [
            {"name": name, "datatype": datatype, "shape": [-1]}
            for name, datatype in _outputs(schema).items()
        ],
    }


def _datatype(feature: Feature) -> str:
    return _DATATYPES.get(feature.type, "BYTES")
