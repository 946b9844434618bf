"""AI.MODELSTORE, AI.MODELGET and execution: ONNX Runtime behind RedisAI's checks and texts.

Speaks as the last released image does, whose ONNX Runtime 1.11 knows IR version 8, opset 16 and
``ai.onnx.ml`` 3 at most; the runtime that really executes is the installed one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from redisai_server.resp import Failure, Reply, wrong_arity

LARGEST_IR = 8
LARGEST_OPSET = {"": 16, "ai.onnx.ml": 3}
NOT_BUILT_IN = {b"TF", b"TFLITE", b"TORCH"}
COUNTS = (b"BATCHSIZE", b"MINBATCHSIZE", b"MINBATCHTIMEOUT")

IR_REFUSED = (
    "Failed to load model with error: /onnxruntime_src/onnxruntime/core/graph/model.cc:129 "
    "onnxruntime::Model::Model(onnx::ModelProto&&, const PathString&, "
    "const IOnnxRuntimeOpSchemaRegistryList*, const onnxruntime::logging::Logger&, bool) "
    "Unsupported model IR version: {given}, max supported IR version: {largest} "
)
OPSET_REFUSED = (
    "Failed to load model with error: "
    "/onnxruntime_src/onnxruntime/core/graph/model_load_utils.h:47 "
    "void onnxruntime::model_load_utils::ValidateOpsetForDomain("
    "const std::unordered_map<std::basic_string<char>, int>&, "
    "const onnxruntime::logging::Logger&, bool, const string&, int) "
    "ONNX Runtime only *guarantees* support for models stamped with official released onnx opset "
    "versions. Opset {given} is under development and support for this is limited. The operator "
    "schemas and or other functionality may change before next ONNX release and in this case "
    "ONNX Runtime will not guarantee backward compatibility. Current official support for domain "
    "{domain} is till opset {largest}. "
)


@dataclass(slots=True)
class Model:
    """A stored model and its counters (`AI.INFO`)."""

    blob: bytes
    tag: bytes
    device: bytes
    counts: dict[bytes, int]
    session: onnxruntime.InferenceSession
    stats: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("duration", "samples", "calls", "errors"), 0)
    )

    @property
    def inputs(self) -> list[str]:
        return [node.name for node in self.session.get_inputs()]

    @property
    def outputs(self) -> list[str]:
        return [node.name for node in self.session.get_outputs()]

    def meta(self) -> list:
        return [
            *("backend", "ONNX", "device", self.device, "tag", self.tag),
            *("batchsize", self.counts[b"BATCHSIZE"]),
            *("minbatchsize", self.counts[b"MINBATCHSIZE"]),
            *("inputs", self.inputs, "outputs", self.outputs),
            *("minbatchtimeout", self.counts[b"MINBATCHTIMEOUT"]),
        ]

    def info(self, key: bytes) -> list:
        stats = [part for item in self.stats.items() for part in item]
        return [
            *("key", key, "type", "MODEL", "backend", "ONNX", "device", self.device),
            *("tag", self.tag, *stats),
        ]

    def check_counts(self, inputs: int, outputs: int) -> None:
        for word, given, own in (
            ("INPUTS", inputs, self.inputs),
            ("OUTPUTS", outputs, self.outputs),
        ):
            if given != len(own):
                raise Failure(
                    f"Number of keys given as {word} here does not match model definition"
                )

    def execute(self, tensors: list[np.ndarray]) -> list[np.ndarray]:
        feed = dict(zip(self.inputs, (_to_onnxruntime(array) for array in tensors), strict=True))
        self.stats["calls"] += 1
        try:
            answers = self.session.run(None, feed)
        except Exception as exc:  # noqa: BLE001 - onnxruntime's errors share no base of their own
            self.stats["errors"] += 1
            raise Failure(text_of(exc)) from None
        self.stats["samples"] += tensors[0].shape[0] if tensors[0].ndim else 1
        return [array for array in answers if isinstance(array, np.ndarray)]


def _to_onnxruntime(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.object_:
        return array
    strings = [string.decode(errors="replace") for string in array.flat]
    return np.array(strings, dtype=str).reshape(array.shape)


def text_of(exc: Exception) -> str:
    """Return an onnxruntime error as version 1.11 and RedisAI word it, on one line."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(exc)).replace("\n", " ")
    return text.replace("either the inputs/outputs or", "either the inputs or")


def parse_store(args: list[bytes]) -> Model:
    """Return the model of ``AI.MODELSTORE key backend device [TAG t] [BATCHSIZE n] … BLOB …``."""
    if len(args) < 4:
        raise wrong_arity("ai.modelstore")
    _check_backend(args[2].upper(), args[3].upper())
    tag, counts, rest = _options(args[4:])
    if not rest:
        raise Failure("ERR Insufficient arguments, missing model BLOB")
    if rest[0].upper() in {b"INPUTS", b"OUTPUTS"}:
        raise Failure("ERR INPUTS argument should not be specified for this backend")
    if rest[0].upper() != b"BLOB":
        raise Failure("ERR Invalid argument, expected BLOB")
    if args[3].upper().startswith(b"GPU"):
        raise Failure("ERR GPU requested but ONNX couldn't find CUDA")
    blob = b"".join(rest[1:])
    return Model(blob, tag, args[3], counts, _session(blob))


def _check_backend(backend: bytes, device: bytes) -> None:
    if backend not in NOT_BUILT_IN | {b"ONNX"}:
        raise Failure("ERR unsupported backend")
    if not re.fullmatch(rb"(CPU|GPU)(:\d+)?", device):
        raise Failure("ERR Invalid DEVICE")
    if backend in NOT_BUILT_IN:
        raise Failure("ERR Could not load backend")


def _options(args: list[bytes]) -> tuple[bytes, dict[bytes, int], list[bytes]]:
    tag, counts, rest = b"", {}, args
    if rest and rest[0].upper() == b"TAG":
        tag, rest = (rest[1] if len(rest) > 1 else b""), rest[2:]
    for needed, word in zip((None, *COUNTS), COUNTS, strict=False):
        counts[word] = 0
        if not rest or rest[0].upper() != word:
            continue
        if needed and not counts[needed]:
            raise Failure(f"ERR {word.decode()} specified without {needed.decode()}")
        if len(rest) < 2 or not rest[1].isdigit():
            raise Failure(f"ERR Invalid argument for {word.decode()}")
        counts[word], rest = int(rest[1]), rest[2:]
    return tag, counts, rest


def _session(blob: bytes) -> onnxruntime.InferenceSession:
    _refuse_newer(blob)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # noqa: BLE001 - onnxruntime's errors share no base of their own
        raise Failure(text_of(exc)) from None


def _refuse_newer(blob: bytes) -> None:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(blob)
    except DecodeError:
        return  # the runtime says so in its own words
    if proto.ir_version > LARGEST_IR:
        raise Failure(IR_REFUSED.format(given=proto.ir_version, largest=LARGEST_IR))
    for opset in proto.opset_import:
        largest = LARGEST_OPSET.get(opset.domain)
        if largest and opset.version > largest:
            domain = opset.domain or "ai.onnx"
            raise Failure(OPSET_REFUSED.format(given=opset.version, domain=domain, largest=largest))


def reply(model: Model, options: list[bytes]) -> Reply:
    """Answer ``AI.MODELGET key [META] [BLOB]``; other words are ignored."""
    words = {option.upper() for option in options}
    if words == {b"BLOB"}:
        return model.blob
    if words == {b"META"}:
        return model.meta()
    return [*model.meta(), "blob", model.blob]
