"""What is said to RedisAI and what its answers mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aimq.errors import AimqError, Invalid, MlUnavailable, ModelMissing, ModelRefused, TimedOut
from ml_service.runtimes.port import ModelFile
from ml_service.runtimes.redisai.commands import (
    PREFIX,
    execution,
    model_key,
    model_tag,
    vector,
)
from ml_service.runtimes.redisai.error_mapping import errors_mapped, mapped


def file(**changes) -> ModelFile:
    described = {"name": "cars", "group": "A", "version": "v1", "sha256": "ab" * 32}
    return ModelFile(path=Path("A.onnx"), features=2, **{**described, **changes})


def reply(values, dtype=b"FLOAT"):
    array = np.asarray(values, np.float32 if dtype == b"FLOAT" else np.float64)
    fields = [b"dtype", dtype, b"shape", list(array.shape), b"blob", array.tobytes()]
    return [b"OK", b"OK", fields]


def test_one_read_only_graph_with_names_of_its_own_and_nothing_persisted():
    matrix = np.array([[1, 2], [3, 4]], np.float32)
    assert execution("key", matrix, 250) == [
        *("AI.DAGEXECUTE_RO", "ROUTING", "key", "TIMEOUT", 250),
        *("|>", "AI.TENSORSET", "in", "FLOAT", 2, 2, "BLOB", matrix.tobytes()),
        *("|>", "AI.MODELEXECUTE", "key", "INPUTS", 1, "in", "OUTPUTS", 1, "out"),
        *("|>", "AI.TENSORGET", "out", "META", "BLOB"),
    ]


def test_building_one_command_does_not_change_the_next():
    matrix = np.zeros((1, 2), np.float32)
    assert execution("key", matrix, 250) == execution("key", matrix, 250)


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 3))))
def test_no_argument_but_the_separators_reads_as_one(matrix):
    matrix[0, 0] = np.frombuffer(b"|>\0\x4b", np.float32)[0]
    arguments = execution("key", matrix, 250)
    blobs = [arg for arg in arguments if isinstance(arg, bytes)]
    assert not any(blob.split(b"\0")[0] == b"|>" for blob in blobs)
    values = np.arange(len(matrix) + 1)
    assert vector(reply(values), matrix).tolist() == values[1:].tolist()


@pytest.mark.parametrize("change", ["name", "version", "group", "sha256"])
def test_models_that_differ_have_different_keys(change):
    assert model_key(file()) != model_key(file(**{change: "cd" * 32}))


def test_keys_are_under_our_prefix_and_tags_carry_the_whole_digest():
    assert model_key(file()).startswith(PREFIX)
    assert model_tag(file()) == "v1:" + "ab" * 32


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("dtype", [b"FLOAT", b"DOUBLE"])
def test_the_last_tensor_is_the_answer(shape, dtype):
    values = vector(reply(np.arange(3).reshape(shape), dtype), np.zeros((3, 2), np.float32))
    assert values.tolist() == [0, 1, 2]
    assert values.dtype == np.float32


def test_probabilities_keep_a_row_for_each_row_and_a_column_for_each_class():
    answer = reply(np.arange(6).reshape(2, 3))
    values = vector(answer, np.zeros((2, 2), np.float32), 3)
    assert values.tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ModelRefused):
        vector(answer, np.zeros((3, 2), np.float32), 3)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"TIMEDOUT", TimedOut),
        (b"OK", MlUnavailable),
        ([], MlUnavailable),
        (None, MlUnavailable),
        ([b"OK", b"OK", b"NA"], ModelRefused),
        ([b"OK", b"OK", None], ModelRefused),
        ([b"OK", b"OK", [b"dtype", b"FLOAT"]], ModelRefused),
        (reply([1, 2]), ModelRefused),
        ([b"OK", b"OK", [b"dtype", b"INT64", b"blob", b"\0" * 8]], ModelRefused),
        ([b"OK", b"OK", [b"dtype", b"FLOAT", b"blob", b"\0" * 3]], ModelRefused),
        ([b"OK", redis.ResponseError("Got invalid dimensions"), b"NA"], ModelRefused),
        ([b"OK", redis.ResponseError("model key is empty"), b"NA"], ModelMissing),
    ],
)
def test_any_other_answer_is_an_error_of_ours(answer, error):
    with pytest.raises(error):
        vector(answer, np.zeros((1, 2), np.float32))


@pytest.mark.parametrize(
    ("exc", "error"),
    [
        (redis.TimeoutError("x"), TimedOut),
        (TimeoutError(), TimedOut),
        (redis.ConnectionError("x"), MlUnavailable),
        (redis.BusyLoadingError("loading"), MlUnavailable),
        (redis.AuthenticationError("x"), MlUnavailable),
        (redis.InvalidResponse("x"), MlUnavailable),
        (ConnectionResetError(), MlUnavailable),
        (redis.ReadOnlyError("x"), MlUnavailable),
        (redis.exceptions.OutOfMemoryError("x"), MlUnavailable),
        (redis.exceptions.NoPermissionError("x"), MlUnavailable),
        (redis.ResponseError("unknown command 'AI.MODELGET'"), MlUnavailable),
        (redis.ResponseError("model key is empty"), ModelMissing),
        (redis.ResponseError("WRONGTYPE Operation against a key"), ModelRefused),
        (redis.ResponseError("Failed to load model with error: …"), ModelRefused),
        (redis.ResponseError("Could not load backend"), ModelRefused),
    ],
)
def test_every_error_of_the_library_has_a_meaning(exc, error):
    meant = mapped(exc)
    assert type(meant) is error
    assert isinstance(meant, AimqError)


def test_errors_of_ours_stay_what_they_are():
    error = Invalid("x")
    with pytest.raises(Invalid) as raised, errors_mapped():
        raise error
    assert raised.value is error


def test_errors_of_the_library_and_of_the_system_are_mapped():
    for exc in (redis.ConnectionError("x"), ConnectionResetError()):
        with pytest.raises(MlUnavailable) as raised, errors_mapped():
            raise exc
        assert raised.value.__cause__ is exc
