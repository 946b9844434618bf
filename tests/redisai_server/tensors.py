"""AI.TENSORSET and AI.TENSORGET: arguments to arrays and back."""

from __future__ import annotations

import math

import numpy as np
from redisai_server.resp import Failure, Reply, wrong_arity

DTYPES = {
    "FLOAT": np.float32,
    "DOUBLE": np.float64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "BOOL": np.bool_,
    "STRING": np.object_,
}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
INVALID = "ERR invalid value"


def parse(args: list[bytes]) -> tuple[bytes, np.ndarray]:
    """Return key and array of ``AI.TENSORSET key type shape… [BLOB b | VALUES v…]``."""
    if len(args) < 4:
        raise wrong_arity("ai.tensorset")
    name = args[2].decode(errors="replace").upper()
    if name not in DTYPES:
        raise Failure("ERR invalid data type")
    shape, rest = _shape(args[3:])
    if not rest:
        return args[1], np.zeros(shape, DTYPES[name])
    if rest[0].upper() == b"BLOB":
        return args[1], _from_blob(name, shape, rest[1:])
    return args[1], _from_values(name, shape, rest[1:])


def _shape(args: list[bytes]) -> tuple[tuple[int, ...], list[bytes]]:
    shape: list[int] = []
    for position, arg in enumerate(args):
        if arg.upper() in {b"BLOB", b"VALUES"}:
            return tuple(shape), args[position:]
        if not arg.isdigit() or int(arg) == 0:
            raise Failure("ERR invalid or negative value found in tensor shape")
        shape.append(int(arg))
    return tuple(shape), []


def _from_blob(name: str, shape: tuple[int, ...], rest: list[bytes]) -> np.ndarray:
    mismatch = Failure("ERR data length does not match tensor shape and type")
    if len(rest) != 1:
        raise mismatch
    if name == "STRING":
        strings = rest[0].split(b"\0")[:-1]
        if len(strings) != math.prod(shape):
            raise mismatch
        return np.array(strings, np.object_).reshape(shape)
    if len(rest[0]) != math.prod(shape) * np.dtype(DTYPES[name]).itemsize:
        raise mismatch
    return np.frombuffer(rest[0], DTYPES[name]).reshape(shape)


def _from_values(name: str, shape: tuple[int, ...], values: list[bytes]) -> np.ndarray:
    if len(values) != math.prod(shape):
        raise Failure("ERR wrong number of values was given in 'AI.TENSORSET' command")
    return np.array([_value(name, value) for value in values], DTYPES[name]).reshape(shape)


def _value(name: str, value: bytes) -> bytes | float | int:
    if name == "STRING":
        return value
    try:
        number = float(value) if name in {"FLOAT", "DOUBLE"} else int(value)
    except ValueError:
        raise Failure(INVALID) from None
    if isinstance(number, float):
        if not math.isfinite(number):
            raise Failure(INVALID)
        return number
    # A real server compares unsigned and so refuses every negative integer.
    largest = 1 if name == "BOOL" else np.iinfo(DTYPES[name]).max
    if not 0 <= number <= largest:
        raise Failure(INVALID)
    return number


def reply(array: np.ndarray, options: list[bytes]) -> Reply:
    """Answer ``AI.TENSORGET key [META] [BLOB | VALUES]``."""
    words = {option.upper() for option in options}
    if words - {b"META", b"BLOB", b"VALUES"}:
        raise Failure("ERR unsupported data format")
    if {b"BLOB", b"VALUES"} <= words:
        raise Failure("ERR both BLOB and VALUES specified")
    words = words or {b"META", b"BLOB"}
    if b"META" not in words:
        return _blob(array) if b"BLOB" in words else _values(array)
    answer: list = ["dtype", NAMES[array.dtype], "shape", list(array.shape)]
    if b"BLOB" in words:
        answer += ["blob", _blob(array)]
    if b"VALUES" in words:
        answer += ["values", _values(array)]
    return answer


def _blob(array: np.ndarray) -> bytes:
    if array.dtype == np.object_:
        return b"".join(string + b"\0" for string in array.flat)
    return array.tobytes()


def _values(array: np.ndarray) -> list:
    match array.dtype:
        case np.float32:
            return [f"{value:.9g}" for value in array.flat]
        case np.float64:
            return [f"{value:.17g}" for value in array.flat]
        case np.object_:
            return list(array.flat)
        case _:
            return [int(value) for value in array.flat]
