import base64
import json

import pytest

from aimq.http.probes import PATHS
from interface.guard import KEY_PROTOCOL, PROTOCOL, Guard


async def call(scope, *keys, token=""):
    """Return the status and headers and body of the answer; 200 is the application behind."""
    sent = []

    async def send(message):
        sent.append(message)

    async def behind(scope, receive, send):
        sent.append({"status": 200, "headers": []})
        sent.append({"body": b"in"})

    await Guard(behind, frozenset(keys), token)(scope, None, send)
    return sent


def http(path="/jobs", method="GET", **headers):
    raw = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, value in headers.items()
    ]
    return {"type": "http", "path": path, "method": method, "headers": raw}


def websocket(*protocols, denial=True):
    extensions = {"websocket.http.response": {}} if denial else {}
    return {
        "type": "websocket",
        "path": "/jobs/1/events",
        "headers": [],
        "subprotocols": list(protocols),
        "extensions": extensions,
    }


async def status(scope, *keys, token=""):
    return (await call(scope, *keys, token=token))[0]["status"]


async def test_without_keys_everybody_may_call():
    assert await status(http(method="POST")) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_api_key": "wrong"},
        {"x_api_key": ""},
        {"x_api_key": "ÿ"},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer "},
        {"authorization": "one"},
    ],
)
async def test_a_missing_or_wrong_key_is_refused_with_what_to_send(headers):
    start, body = await call(http(**headers), "one", "two", token="inner")

    assert start["status"] == 401
    assert (b"content-type", b"application/problem+json") in start["headers"]
    assert "X-API-Key" in json.loads(body["body"])["detail"]


@pytest.mark.parametrize(
    "headers", [{"x_api_key": "one"}, {"x_api_key": "two"}, {"authorization": "Bearer inner"}]
)
async def test_any_of_the_keys_and_the_internal_token_open_the_door(headers):
    assert await status(http(**headers), "one", "two", token="inner") == 200


async def test_an_unset_internal_token_opens_nothing():
    assert await status(http(authorization="Bearer "), "one") == 401


@pytest.mark.parametrize("path", [*PATHS, "/"])
async def test_probes_and_the_page_need_no_key(path):
    assert await status(http(path), "one") == 200


async def test_the_server_life_span_is_let_through():
    assert await status({"type": "lifespan"}, "one") == 200


async def test_a_websocket_carries_its_key_as_a_subprotocol():
    key = base64.urlsafe_b64encode(b"one").decode().rstrip("=")

    assert await status(websocket(PROTOCOL, KEY_PROTOCOL + key), "one") == 200


@pytest.mark.parametrize("protocol", ["aimq.key.d3Jvbmc", "aimq.key.!", "aimq.key.é", "other"])
async def test_a_websocket_with_a_wrong_key_is_refused(protocol):
    assert await status(websocket(protocol), "one") == 401


async def test_a_websocket_is_closed_where_the_server_cannot_answer_it():
    assert await call(websocket(denial=False), "one") == [{"type": "websocket.close", "code": 1008}]


async def test_another_web_site_cannot_call_through_a_visitors_browser():
    assert await status(http(method="POST", sec_fetch_site="cross-site")) == 401
    assert await status(http(method="GET", sec_fetch_site="cross-site")) == 200
    assert await status(http(method="POST", sec_fetch_site="same-origin")) == 200
