"""``POST /predict/factorial``: the simulated model, which thinks for as long as it is asked to.

Computed in processes, a bounded number at once; what exceeds a short queue before them is refused.
It is kept apart from the limits of the predictions, whose latency it says nothing of.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from aimq.errors import FieldError, Invalid, Overloaded
from aimq.factorial import preview
from aimq.factorial_pool import FactorialPool
from aimq.settings import Settings
from ml_service import bodies
from ml_service.access import Access
from ml_service.openapi import problems

#: Requests that wait per process before the rest are refused.
_WAITING: Final = 16
_RETRY_AFTER: Final = 2.0
_MAX_BODY: Final = 1024

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "no": {"type": "integer", "minimum": 0},
                        "preview": {"type": "boolean", "default": False},
                    },
                    "required": ["no"],
                }
            }
        },
    }
}


class FactorialModel:
    """Answers the route. Belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._largest = settings.factorial_max
        self._calculators = FactorialPool(settings.concurrency, settings.task_seconds)
        self._threads = ThreadPoolExecutor(settings.concurrency, "factorial")
        self._most = settings.concurrency * (_WAITING + 1)
        self._present = 0

    async def answer(self, body: bytes) -> dict[str, object]:
        """Return the answer to a body.

        Raises:
            ClientError: the body is not JSON, or too nested.
            Invalid: no object, or `no` is out of range.
            Overloaded: too many wait already.
            TaskTooLong, WorkerDied: see `FactorialPool.digits`.
        """
        no, short = self._asked(bodies.decode_json(body))
        if self._present >= self._most:
            raise Overloaded(f"{self._present} factorials wait.", retry_after=_RETRY_AFTER)
        self._present += 1
        try:
            text = await asyncio.get_running_loop().run_in_executor(
                self._threads, partial(self._calculators.digits, no)
            )
        finally:
            self._present -= 1
        return {"input": no, "output": preview(text) if short else text, "digits": len(text)}

    def _asked(self, value: object) -> tuple[int, bool]:
        asked = value if isinstance(value, dict) else {}
        no, short = asked.get("no"), asked.get("preview", False)
        if type(no) is not int or not 0 <= no <= self._largest:
            allowed = f"a whole number from 0 to {self._largest}"
            raise Invalid(
                f"no must be {allowed}.",
                errors=[FieldError(field="no", message=f"must be {allowed}", allowed=allowed)],
            )
        return no, short is True

    def close(self) -> None:
        """Stop what is being computed. Idempotent."""
        self._calculators.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


def routes(model: FactorialModel, access: Access) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["factorial"])

    @router.post(
        "/predict/factorial",
        summary="The simulated model: no! by a loop",
        openapi_extra=_BODY,
        responses=problems("400", "401", "413", "422", "503", "504"),
    )
    async def factorial(request: Request) -> Response:
        access.check(request.scope)
        body = await bodies.read_body(request.scope, request.receive, _MAX_BODY)
        answer = await model.answer(body)
        return Response(msgspec.json.encode(answer), media_type="application/json")

    return router
