"""``POST /predict``: relayed to the ML service as it came, and its answer likewise.

The record is validated once, by the service that knows the model.
"""

from __future__ import annotations

from http import HTTPStatus
from time import perf_counter
from typing import Final

from starlette.types import Receive, Scope, Send

from aimq import telemetry
from aimq.errors import AimqError, Invalid, TooLarge
from aimq.http import problems
from aimq.ml_client.connection import Answer
from aimq.ml_client.relay import MlRelay
from interface.metrics import Metrics

_PATH: Final = b"/predict/onnx"
_BLANKS: Final = b" \t\r\n"
_ONE_RECORD: Final = (
    "A list came; one record is expected, as a JSON object. Many go into a workbook: POST /upload."
)
_CONTENT_TYPE: Final = (b"content-type", b"application/json")
#: Headers of the ML service's answer that are the client's business.
_PASSED_ON: Final = frozenset(
    {
        b"content-type",
        b"retry-after",
        b"x-served-by",
        b"ratelimit",
        b"ratelimit-limit",
        b"ratelimit-policy",
        b"ratelimit-remaining",
        b"ratelimit-reset",
    }
)


def _headers(scope: Scope) -> tuple[tuple[bytes, bytes], ...]:
    given = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
    trace = telemetry.continue_trace(given.decode("latin-1") if given else None)
    return _CONTENT_TYPE, (b"traceparent", trace.encode("ascii"))


def _passed_on(answer: Answer) -> list[tuple[bytes, bytes]]:
    return [header for header in answer.headers if header[0] in _PASSED_ON]


class Disconnected(Exception):
    """The client left before its request was complete."""


class Predict:
    """The ASGI application of the route. Belongs to one event loop.

    Args:
        max_body: largest body, in bytes.
    """

    def __init__(self, ml: MlRelay, metrics: Metrics, max_body: int) -> None:
        self._ml = ml
        self._metrics = metrics
        self._max_body = max_body
        self._count_ok = metrics.predictions.labels("200")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        begun = perf_counter()
        try:
            status = await self._relay(scope, receive, send)
        except AimqError as exc:
            status = exc.status
            await problems.response(exc)(scope, receive, send)
        except Disconnected:
            return
        self._count(status, begun)

    def _count(self, status: int, begun: float) -> None:
        self._metrics.predict_seconds.observe(perf_counter() - begun)
        if status == HTTPStatus.OK:
            self._count_ok.inc()
        else:
            self._metrics.predictions.labels(str(status)).inc()

    async def _relay(self, scope: Scope, receive: Receive, send: Send) -> int:
        body = await read_body(receive, self._max_body)
        if body.lstrip(_BLANKS).startswith(b"["):
            raise Invalid(_ONE_RECORD)
        answer = await self._ml.post(_PATH, body, _headers(scope))
        headers = _passed_on(answer)
        headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        return answer.status


async def read_body(receive: Receive, bound: int) -> bytes:
    """Return the whole body. Raises `TooLarge` as soon as it is over the bound."""
    message = await receive()
    if not message.get("more_body") and message["type"] == "http.request":
        body: bytes = message.get("body", b"")
        _check(len(body), bound)
        return body
    chunks, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        _check(size, bound)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()


def _check(size: int, bound: int) -> None:
    if size > bound:
        raise TooLarge(
            f"The body is over {bound // 1024:,} KiB; one record is a few hundred bytes."
        )
