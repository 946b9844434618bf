"""The stand-in RedisAI server answers as a real one was seen to, byte for byte."""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import hiredis
import numpy as np
import pytest
import redis
from redisai_server.onnx_models import linear
from redisai_server.process import RedisAiServer

pytest_plugins = ("redisai_server.fixtures",)

TRANSCRIPTS = Path(__file__).with_name("redisai_transcripts.txt")
#: The 113 bytes of the model that the transcripts were taken with.
MODEL = (
    b'\x08\x08:g\n\x11\n\x01x\n\x01W\x12\x01y"\x06MatMul\x12\x01g*#\x08\x03\x08\x02\x10\x01"\x18'
    b"\x00\x00\x80?\x00\x00\x00@\x00\x00@@\x00\x00\x80@\x00\x00\xa0@\x00\x00\xc0@B\x01WZ\x14\n"
    b"\x01x\x12\x0f\n\r\x08\x01\x12\t\n\x03\x12\x01N\n\x02\x08\x03b\x14\n\x01y\x12\x0f\n\r\x08\x01"
    b"\x12\t\n\x03\x12\x01N\n\x02\x08\x02B\x04\n\x00\x10\x0f"
)
WEIGHTS = np.arange(1, 7, dtype=np.float32).reshape(3, 2)
BLOBS = {
    "{model}": MODEL,
    "{malformed}": b"not an onnx model, really",
    "{start}": MODEL[:56],
    "{head}": MODEL[:100],
    "{tail}": MODEL[100:],
    "{two}": linear(WEIGHTS, outputs=2),
}


class RawConnection:
    """Sends a command and returns every byte sent back, a second reply included."""

    END = b"$3\r\nend\r\n"

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)

    def ask(self, *args: bytes) -> bytes:
        self._socket.sendall(hiredis.pack_command(args) + hiredis.pack_command((b"ECHO", b"end")))
        answer = b""
        while not answer.endswith(self.END):
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError(answer)
            answer += data
        return answer.removesuffix(self.END)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def connection(redisai_server):
    connection = RawConnection(redisai_server.port)
    connection.ask(b"FLUSHALL")
    yield connection
    connection.close()


@pytest.fixture
def client(redisai_server):
    with redis.Redis(port=redisai_server.port) as client:
        client.flushall()
        yield client


def unescaped(text: str) -> bytes:
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def arguments(command: str) -> list[bytes]:
    return [BLOBS.get(word) or unescaped(word) for word in command.split(" ")]


def test_it_answers_every_command_of_the_transcripts_to_the_byte(connection):
    lines = [line for line in TRANSCRIPTS.read_text().splitlines() if not line.startswith("#")]
    differing, compared = [], 0
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("! "):
            assert connection.ask(*arguments(line[2:])) == b"+OK\r\n", line
        elif line.startswith("> "):
            answer, expected = connection.ask(*arguments(line[2:])), unescaped(following)
            compared += 1
            if answer != expected:
                differing.append((line, answer, expected))
    assert differing == []
    assert compared > 120


@pytest.mark.parametrize(("ir", "opset"), [(3, 7), (8, 15), (8, 16)])
def test_it_takes_what_the_released_image_takes(client, ir, opset):
    model = linear(WEIGHTS, ir=ir, opset=opset)
    assert client.execute_command("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", model) == b"OK"


@pytest.mark.parametrize("ir", [9, 10, 11])
def test_it_refuses_a_newer_ir_version_in_the_words_of_onnx_runtime_1_11(client, ir):
    model = linear(WEIGHTS, ir=ir, opset=19)
    with pytest.raises(
        redis.ResponseError,
        match=rf"^Failed to load model with error: /onnxruntime_src/onnxruntime/core/graph/"
        rf"model\.cc:129 .*Unsupported model IR version: {ir}, max supported IR version: 8 $",
    ):
        client.execute_command("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", model)


def test_it_refuses_a_newer_opset_in_the_words_of_onnx_runtime_1_11(client):
    model = linear(WEIGHTS, opset=17)
    with pytest.raises(redis.ResponseError, match=re.escape("ONNX Runtime only *guarantees*")):
        client.execute_command("AI.MODELSTORE", "m", "ONNX", "CPU", "BLOB", model)
    assert client.exists("m") == 0


def test_it_lists_models_with_their_tags(client):
    for key, tag in (("a", "v1"), ("b", "v2")):
        client.execute_command(
            "AI.MODELSTORE", key, "ONNX", "CPU", "TAG", tag, "BLOB", BLOBS["{model}"]
        )
    assert sorted(client.execute_command("AI._MODELSCAN")) == [[b"a", b"v1"], [b"b", b"v2"]]


def test_models_are_executed_in_database_0_only(redisai_server, client):
    client.execute_command("AI.MODELSTORE", "first", "ONNX", "CPU", "BLOB", MODEL)
    with redis.Redis(port=redisai_server.port, db=3) as other:
        other.execute_command("AI.MODELSTORE", "there", "ONNX", "CPU", "BLOB", MODEL)
        other.execute_command("AI.TENSORSET", "x", "FLOAT", 1, 3, "VALUES", 1, 1, 1)
        graph = "AI.DAGEXECUTE LOAD 1 x PERSIST 1 y |> AI.MODELEXECUTE {} INPUTS 1 x OUTPUTS 1 y"
        assert other.execute_command(*graph.format("first").split()) == [b"OK"]
        assert sorted(other.keys("*")) == [b"there", b"x", b"y"]
        with pytest.raises(redis.ResponseError, match="model key is empty"):
            other.execute_command(*graph.format("there").split())
        with pytest.raises(redis.ResponseError, match="tensor key is empty"):
            other.execute_command(
                *("AI.MODELEXECUTE", "first", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
            )


def test_a_model_stored_over_a_key_of_another_type_kills_it():
    with RedisAiServer() as server, redis.Redis(port=server.port) as client:
        client.set("key", "text")
        with pytest.raises(redis.ConnectionError):
            client.execute_command("AI.MODELSTORE", "key", "ONNX", "CPU", "BLOB", MODEL)
        assert server.wait() == -signal.SIGSEGV


def test_it_asks_for_its_password():
    with RedisAiServer(password="secret") as server:
        with redis.Redis(port=server.port) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        with (
            redis.Redis(port=server.port, password="wrong") as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()
