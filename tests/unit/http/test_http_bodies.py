import asyncio

import pytest

from aimq.errors import ClientError, Disconnected, RequestTimedOut, TooLarge
from aimq.http.bodies import MAX_DEPTH, decode_json, read_body


def scope(**headers):
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": raw}


def coming(*pieces, disconnects=False):
    """Return a `receive` that gives these pieces and then waits for ever, or disconnects."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if disconnects:
        messages.append({"type": "http.disconnect"})

    async def receive():
        return messages.pop(0) if messages else await asyncio.Future()

    return receive


def whole(*pieces):
    *first, last = pieces
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in first]
    messages.append({"type": "http.request", "body": last})

    async def receive():
        return messages.pop(0)

    return receive


@pytest.mark.parametrize("pieces", [[b""], [b"abc"], [b"a", b"", b"bc"]])
async def test_a_body_within_its_limit_is_read_whole(pieces):
    assert await read_body(scope(), whole(*pieces), 3) == b"".join(pieces)


@pytest.mark.parametrize("pieces", [[b"abcd"], [b"ab", b"cd"]])
async def test_a_body_over_its_limit_is_refused(pieces):
    with pytest.raises(TooLarge, match="3 bytes"):
        await read_body(scope(), whole(*pieces), 3)


async def test_a_declared_length_over_the_limit_is_refused_before_anything_is_read():
    with pytest.raises(TooLarge):
        await read_body(scope(content_length="4"), None, 3)


async def test_a_body_that_does_not_come_in_time_is_refused():
    with pytest.raises(RequestTimedOut, match="within 0 s"):
        await read_body(scope(), coming(b"a"), 3, seconds=0)


async def test_a_client_that_leaves_is_noticed():
    with pytest.raises(Disconnected):
        await read_body(scope(), coming(b"a", disconnects=True), 3)


async def test_each_piece_is_told_before_the_next_is_read():
    taken = []
    await read_body(scope(), whole(b"a", b"bc"), 3, take=taken.append)
    assert taken == [1, 2]


def nested(depth, opening=b"[", closing=b"]"):
    return opening * depth + closing * depth


@pytest.mark.parametrize("depth", [1, MAX_DEPTH])
def test_json_within_the_depth_is_decoded(depth):
    decode_json(nested(depth))
    decode_json(b'{"a":' * depth + b"1" + b"}" * depth)
    assert decode_json(b'"%b"' % nested(100)) == nested(100).decode()
    assert decode_json(b"[" + b",".join([b"[]"] * 100) + b"]") == [[]] * 100


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 100_000])
def test_json_beyond_the_depth_is_refused(depth):
    for body in (nested(depth), b'{"a":' * depth + b"1" + b"}" * depth):
        with pytest.raises(ClientError, match="nested too deeply"):
            decode_json(body)


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": NaN}', b'{"a": "\xff"}', b"1" * 50_000])
def test_what_is_not_json_is_refused(body):
    with pytest.raises(ClientError, match="not JSON"):
        decode_json(body)
