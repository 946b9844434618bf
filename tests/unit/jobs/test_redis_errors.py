"""How answers and failures of a Redis server are told."""

from unittest.mock import Mock

import pytest
import redis
from redis import exceptions

from aimq.errors import StoreUnavailable
from aimq.jobs.redis.server import RedisServer


def every_class(root):
    return {root, *(each for child in root.__subclasses__() for each in every_class(child))}


def failing(exc, times=99):
    server = RedisServer("redis://user:secret@127.0.0.1:1/0")
    server._client.execute_command = Mock(side_effect=[exc] * times + [b"answer"])
    return server


def ask(server):
    return server.call(lambda client: client.get("key"))


#: Errors of a cluster's client, which need arguments of their own.
CLUSTER = (exceptions.AskError, exceptions.ClusterDownError, exceptions.SlotNotCoveredError)


@pytest.mark.parametrize(
    "kind",
    sorted(
        (each for each in every_class(redis.RedisError) if not issubclass(each, CLUSTER)),
        key=lambda each: each.__name__,
    ),
)
def test_every_error_of_the_library_is_one_line_of_ours(kind):
    server = failing(kind("something\nhappened"))
    with pytest.raises(StoreUnavailable, match=r"Redis at 127\.0\.0\.1:1 .*: something happened"):
        ask(server)


@pytest.mark.parametrize(
    ("exc", "words"),
    [
        (redis.AuthenticationError("invalid password"), "refuses the login"),
        (redis.ResponseError("WRONGPASS invalid username-password pair"), "refuses the login"),
        (redis.ResponseError("NOAUTH Authentication required."), "needs a login"),
        (exceptions.NoPermissionError("no permissions"), "check its ACL"),
        (redis.BusyLoadingError("Redis is loading the dataset"), "still loading"),
        (redis.ReadOnlyError("You can't write"), "read-only replica"),
        (exceptions.OutOfMemoryError("command not allowed"), "raise maxmemory"),
        (redis.ResponseError("OOM command not allowed. script: abc"), "raise maxmemory"),
        (redis.ResponseError("MISCONF Redis is configured to save"), "cannot write to its disk"),
        (redis.TimeoutError("Timeout reading from socket"), "did not answer within"),
        (redis.ConnectionError("Error 111 connecting"), "cannot be reached"),
        (redis.ResponseError("ERR unknown command"), "refused the command"),
    ],
)
def test_what_is_wrong_is_said_in_words_that_lead_to_what_to_do(exc, words):
    with pytest.raises(StoreUnavailable, match=words) as caught:
        ask(failing(exc))
    assert "secret" not in caught.value.detail


def test_a_broken_connection_is_tried_once_more_only_where_that_is_safe():
    server = failing(redis.ConnectionError("reset"), times=1)
    assert ask(server) == b"answer"
    server = failing(redis.ConnectionError("reset"), times=1)
    with pytest.raises(StoreUnavailable):
        server.run("delete", [b"id"], again=False)
    assert server._client.execute_command.call_count == 1


@pytest.mark.parametrize(
    "exc",
    [redis.TimeoutError("slow"), redis.BusyLoadingError("loading"), redis.ResponseError("ERR")],
)
def test_a_refusal_or_silence_is_not_tried_again(exc):
    server = failing(exc, times=1)
    with pytest.raises(StoreUnavailable):
        ask(server)
    assert server._client.execute_command.call_count == 1
