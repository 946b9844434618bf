"""``POST /predict/factorial``: the simulated model, which thinks for as long as it is asked to.

Computed in processes, a bounded number at once; what exceeds a short queue before them is refused.
It is kept apart from the limits of the predictions, whose latency it says nothing of.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from aimq.errors import FieldError, Invalid
from aimq.factorial import preview
from aimq.factorial_pool import FactorialPool
from aimq.http.bodies import decode_json, read_body
from aimq.http.problems import documented
from aimq.http.threads import ThreadPool
from aimq.settings import Settings
from ml_service.predict import JSON
from ml_service.rate_limit import Decorator

#: Requests that may wait for each process.
_WAITING: Final = 16
_MAX_BODY: Final = 1024


class FactorialRequest(msgspec.Struct, frozen=True):
    """The body, as it is documented."""

    no: int
    preview: bool = False


_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/FactorialRequest"}}},
    }
}


class FactorialModel:
    """Answers the route. Belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        size = settings.concurrency
        self._largest = settings.factorial_max
        self._processes = FactorialPool(size, settings.task_seconds)
        self._threads = ThreadPool(size, "factorial", waiting=size * _WAITING)

    async def answer(self, body: bytes) -> dict[str, object]:
        """Return the answer to a body.

        Raises:
            ClientError: the body is not JSON, or too nested.
            Invalid: no object, or `no` is out of range.
            Overloaded: too many wait already.
            TaskTooLong, WorkerDied: see `FactorialPool.digits`.
        """
        asked = self._asked(decode_json(body))
        text = await self._threads.run(self._processes.digits, asked.no)
        output = preview(text) if asked.preview else text
        return {"input": asked.no, "output": output, "digits": len(text)}

    def _asked(self, value: object) -> FactorialRequest:
        asked = value if isinstance(value, dict) else {}
        no = asked.get("no")
        if type(no) is not int or not 0 <= no <= self._largest:
            allowed = f"a whole number from 0 to {self._largest}"
            raise Invalid(
                f"no must be {allowed}.",
                errors=[FieldError(field="no", message=f"must be {allowed}", allowed=allowed)],
            )
        return FactorialRequest(no, asked.get("preview") is True)

    def close(self) -> None:
        """Stop what is being computed. Idempotent."""
        self._processes.close()
        self._threads.close()


def routes(settings: Settings, limited: Decorator) -> APIRouter:
    """Return the route, whose processes end with the application.

    Args:
        limited: limits its rate for each client.
    """
    model = FactorialModel(settings)

    @contextlib.asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        yield
        model.close()

    router = APIRouter(tags=["factorial"], lifespan=closing)

    @router.post(
        "/predict/factorial",
        response_model=None,
        openapi_extra=_BODY,
        responses=documented(400, 401, 408, 413, 422, 429, 503, 504),
    )
    @limited
    async def factorial(request: Request) -> Response:
        """Compute no! by a loop: the simulated model."""
        body = await read_body(request.scope, request.receive, _MAX_BODY)
        return Response(msgspec.json.encode(await model.answer(body)), media_type=JSON)

    return router
