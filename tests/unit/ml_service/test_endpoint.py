"""An endpoint answers with what its handler gives, or with a problem, and counts it."""

from __future__ import annotations

import json

import pytest
from prometheus_client import CollectorRegistry
from starlette.responses import Response

from aimq.errors import Disconnected, Invalid
from ml_service.admission import Admission
from ml_service.aimd import Aimd
from ml_service.endpoint import Endpoint
from ml_service.metrics import RequestStats
from ml_service.rate_limit import RateLimit

SCOPE = {"type": "http", "path": "/x", "headers": [], "client": ("10.0.0.1", 1)}


@pytest.fixture
def stats():
    return RequestStats("/x")


async def asked(stats, outcome, rate="9/hour"):
    """Return the status, headers and body of the answer; None without one."""
    sent = []

    async def answer(scope, receive):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def send(message):
        sent.append(message)

    admission = Admission(RateLimit(rate), Aimd(lag=1), CollectorRegistry())
    endpoint = Endpoint(answer, admission, stats)
    for _ in range(2):
        sent.clear()
        await endpoint(SCOPE, None, send)
    if not sent:
        return None
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"]


async def test_an_answer_is_sent_and_counted(stats):
    assert (await asked(stats, Response(b"yes")))[::2] == (200, b"yes")
    assert stats.statuses == {200: 2}


async def test_an_error_is_a_problem_document_and_counted(stats):
    status, headers, body = await asked(stats, Invalid("wrong"))
    assert (status, headers[b"content-type"]) == (422, b"application/problem+json")
    assert json.loads(body)["detail"] == "wrong"
    assert stats.statuses == {422: 2}


async def test_a_bug_tells_the_client_nothing_and_the_log_everything(stats, caplog):
    status, _, body = await asked(stats, ZeroDivisionError("secret"))
    assert (status, b"secret" in body) == (500, False)
    assert "secret" in caplog.text


async def test_a_client_that_left_is_not_answered(stats):
    assert await asked(stats, Disconnected("gone")) is None
    assert not stats.statuses


async def test_a_refusal_is_counted_and_takes_no_part_in_the_latencies(stats):
    status, headers, _ = await asked(stats, Response(b"yes"), rate="1/hour")
    assert (status, headers[b"ratelimit-limit"]) == (429, b"1")
    assert stats.statuses == {200: 1, 429: 1}
    assert sum(stats.buckets) == 1
