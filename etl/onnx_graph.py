"""What an ONNX file of somebody else needs for input and output, and making it so where simple."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from aimq.errors import Invalid
from etl.export import IR_VERSION, OPSET

if TYPE_CHECKING:
    from onnx import ModelProto

#: Newest version of each set of operators that RedisAI 1.2.7 reads, with its ONNX Runtime 1.11.
REDISAI: Final = {"": OPSET, "ai.onnx": OPSET, "ai.onnx.ml": 3}


def parse(content: bytes, name: str) -> ModelProto:
    """Read an ONNX file. Raises `Invalid` if it is none, or does not hold all its weights."""
    import onnx  # noqa: PLC0415 - slow to import
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        model: ModelProto = onnx.ModelProto.FromString(content)
    except DecodeError as exc:
        raise Invalid(f"{name}: is not an ONNX model: {exc}.") from exc
    if not model.graph.node:
        raise Invalid(f"{name}: is not an ONNX model: it has no operators.")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise Invalid(
            f"{name}: keeps weights in other files (external data). Save it as one file: "
            "onnx.save(model, path, save_as_external_data=False)."
        )
    return model


def _tensors(message: Any) -> Iterator[Any]:  # noqa: ANN401 - any of protobuf's messages
    """Yield every tensor, those in attributes and subgraphs included."""
    import onnx  # noqa: PLC0415 - slow to import

    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in value if hasattr(value, "__len__") else [value]:
                if isinstance(item, onnx.TensorProto):
                    yield item
                else:
                    yield from _tensors(item)


def keep_one_output(model: ModelProto, *, probabilities: bool) -> None:
    """Cut the graph to one output: the first one, or the probabilities of a classifier, in place.

    A classifier answers the label first, then the probabilities: as a matrix, or, behind a ZipMap,
    as a map for each row. The matrix before the ZipMap is taken. `onnxruntime` leaves out the
    operators that only the label needs.
    """
    import onnx  # noqa: PLC0415 - slow to import

    outputs = model.graph.output
    place = 1 if probabilities and len(outputs) > 1 else 0
    chosen = outputs[place].name
    for node in model.graph.node:
        if node.op_type == "ZipMap" and chosen in node.output:
            chosen = node.input[0]
            model.graph.node.remove(node)
            break
    kept = onnx.helper.make_tensor_value_info(chosen, onnx.TensorProto.FLOAT, None)
    if chosen == outputs[place].name:
        kept.CopyFrom(outputs[place])
    del outputs[:]
    outputs.append(kept)


def labels(model: ModelProto) -> list[str]:
    """Return the names of a classifier's classes in the order of its outputs, if it has any."""
    parts = (part for node in model.graph.node for part in node.attribute)
    found = [part.strings for part in parts if part.name == "classlabels_strings" and part.strings]
    return [label.decode(errors="replace") for label in found[-1]] if found else []


def as_column(model: ModelProto) -> None:
    """Turn an output of n numbers into one of shape (n, 1), in place."""
    import onnx  # noqa: PLC0415 - slow to import

    given, shape, column = model.graph.output[0].name, "aimq_shape", "aimq_column"
    tensor = onnx.helper.make_tensor(shape, onnx.TensorProto.INT64, [2], [-1, 1])
    model.graph.initializer.append(tensor)
    model.graph.node.append(onnx.helper.make_node("Reshape", [given, shape], [column]))
    model.graph.output[0].name = column


def set_shapes(model: ModelProto, width: int, outputs: int) -> None:
    """Say that any number of rows by ``width`` comes in, and by ``outputs`` goes out, in place."""
    import onnx  # noqa: PLC0415 - slow to import

    known = {tensor.name for tensor in model.graph.initializer}
    given = next(value for value in model.graph.input if value.name not in known)
    for value, columns in ((given, width), (model.graph.output[0], outputs)):
        described = onnx.helper.make_tensor_value_info(
            value.name, onnx.TensorProto.FLOAT, [None, columns]
        )
        value.CopyFrom(described)


def beyond_redisai(model: ModelProto) -> list[str]:
    """Return why RedisAI 1.2.7 cannot load a model; empty if it can."""
    reasons = [
        f"operators of {used.domain or 'ai.onnx'} version {used.version}"
        + (f" (up to {REDISAI[used.domain]})" if used.domain in REDISAI else " (none)")
        for used in model.opset_import
        if used.version > REDISAI.get(used.domain, 0)
    ]
    if model.ir_version > IR_VERSION:
        reasons.append(f"IR version {model.ir_version} (up to {IR_VERSION})")
    return reasons
