import base64
import json

import pytest

from aimq.http.credentials import KEY_PROTOCOL, PROTOCOL, Caller
from aimq.http.guard import Guard, caller_of
from aimq.http.probes import PATHS
from aimq.settings import Settings


async def call(scope, *keys, token="", refusals=None, **more):
    """Return the status and headers and body of the answer; 200 is the application behind."""
    sent = []
    settings = Settings(api_keys=frozenset(keys), internal_token=token, **more)

    async def send(message):
        sent.append(message)

    async def behind(scope, receive, send):
        sent.append({"status": 200, "headers": []})
        sent.append({"body": b"in"})

    guard = Guard(
        behind,
        settings,
        open_paths=["/"],
        computing=["/factorial/sync"],
        on_refusal=None if refusals is None else lambda *refusal: refusals.append(refusal),
    )
    await guard(scope, None, send)
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


async def status(scope, *keys, **more):
    return (await call(scope, *keys, **more))[0]["status"]


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


OPEN = [*PATHS, "/", "/docs", "/docs/files/swagger-ui.css", "/openapi.json"]


@pytest.mark.parametrize("path", OPEN)
async def test_probes_documentation_and_the_page_need_no_key(path):
    assert await status(http(path), "one") == 200


async def test_the_caller_is_told_to_the_application():
    for headers, caller in (
        ({}, None),
        ({"x_api_key": "one"}, Caller.CLIENT),
        ({"authorization": "Bearer inner"}, Caller.INTERNAL),
    ):
        scope = http("/", **headers)
        assert await status(scope, "one", token="inner") == 200
        assert caller_of(scope) is caller


async def test_each_refusal_is_told():
    refusals = []
    scope = http()
    await call(scope, "one", refusals=refusals)
    assert refusals == [(scope, 401)]


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


SITES = [
    ({"sec_fetch_site": "cross-site"}, 403),
    ({"sec_fetch_site": "same-site"}, 403),
    ({"sec_fetch_site": "same-origin", "origin": "https://elsewhere.example"}, 200),
    ({"sec_fetch_site": "none"}, 200),
    ({"origin": "https://elsewhere.example"}, 403),
    ({"origin": "http://localhost:9999"}, 403),
    ({"origin": "http://localhost.elsewhere.example:8080"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": "http://localhost:8080"}, 200),
    ({"origin": "http://page.example"}, 200),
    ({}, 200),
]


@pytest.mark.parametrize(("headers", "expected"), SITES)
async def test_only_its_own_site_and_programs_may_change_or_compute_something(headers, expected):
    given = {"host": "localhost:8080", **headers}
    listed = {"allowed_hosts": "page.example"}
    assert await status(http(method="POST", **given), **listed) == expected
    assert await status(http("/factorial/sync", **given), **listed) == expected
    assert await status(http(**given), **listed) == 200


async def test_another_site_cannot_open_a_websocket():
    scope = websocket()
    scope["headers"] = [(b"host", b"localhost"), (b"origin", b"https://elsewhere.example")]
    assert await status(scope) == 403


LOOPBACK = ["localhost:8080", "127.0.0.1:8080", "LOCALHOST", "localhost.", "[::1]:8080"]
OTHERS = [
    "rebound.example",
    "10.1.2.3:8080",
    "localhost.example",
    "127.0.0.1.example",
    "[::2]",
    "[",
]


@pytest.mark.parametrize("host", LOOPBACK)
async def test_names_of_this_machine_are_answered(host):
    assert await status(http(host=host)) == 200


@pytest.mark.parametrize("host", OTHERS)
async def test_without_keys_other_names_are_refused(host):
    start, body = await call(http(host=host))
    assert start["status"] == 403
    assert "AIMQ_ALLOWED_HOSTS" in json.loads(body["body"])["detail"]


@pytest.mark.parametrize("path", PATHS)
async def test_probes_are_answered_under_any_name(path):
    assert await status(http(path, host="10.1.2.3:8080"), allowed_hosts="page.example") == 200


async def test_with_keys_any_name_is_answered_unless_some_are_listed():
    scope = http(host="aimq.example", x_api_key="one")
    assert await status(scope, "one") == 200
    assert await status(scope, "one", allowed_hosts="aimq.example,page.example") == 200
    assert await status(scope, "one", allowed_hosts="*") == 200
    assert await status(scope, "one", allowed_hosts="page.example") == 403


async def test_the_services_may_always_call_each_other_by_their_names():
    scope = http(host="ml-service:5001")
    listed = {"allowed_hosts": "page.example", "ml_url": "http://ml-service:5001"}
    assert await status(scope, **listed) == 200


async def test_a_service_that_is_open_on_purpose_answers_to_addresses_but_not_to_names():
    assert await status(http(host="10.1.2.3:8080"), allow_open=True) == 200
    assert await status(http(host="rebound.example"), allow_open=True) == 403
