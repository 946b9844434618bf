"""Routes whose requests cost less than the framework's way of calling a function.

Each is a route of the framework, with its documentation, that calls an ASGI application.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from aimq.errors import AimqError, Disconnected, InternalError
from aimq.http import problems
from aimq.http.documentation import API_KEY
from ml_service.admission import Admission
from ml_service.metrics import RequestStats

logger = logging.getLogger(__name__)

#: Writes an error, with these headers beside its own.
WriteProblem = Callable[[AimqError, dict[str, str]], Response]


class Answer(Protocol):
    """Answers requests that were checked."""

    async def __call__(self, scope: Scope, receive: Receive) -> Response:
        """Answer a request. Raises `AimqError`."""
        ...


class AsgiRoute(APIRoute):
    """A route for POST that calls an ASGI application.

    Args:
        documented: a function whose name, docstring and path parameters are the documentation.
        options: of `APIRoute`.
    """

    def __init__(
        self,
        path: str,
        documented: Callable[..., Any],
        app: ASGIApp,
        **options: Any,  # noqa: ANN401 # as they are
    ) -> None:
        super().__init__(
            path,
            documented,
            methods=["POST"],
            response_model=None,
            dependencies=[API_KEY],  # documents the key; the guard has checked it
            **options,
        )
        self.app = app


class Endpoint:
    """ASGI application: admission, the answer or a problem, metrics. Belongs to the event loop.

    Args:
        problem: writes errors: as problem documents, or as another protocol has them.
    """

    def __init__(
        self,
        answer: Answer,
        admission: Admission,
        stats: RequestStats,
        problem: WriteProblem = problems.response,
    ) -> None:
        self._answer = answer
        self._admission = admission
        self._stats = stats
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = perf_counter()
        try:
            self._admission.check(scope)
        except AimqError as exc:
            self._stats.refused(exc.status)
            response = self._written(exc)
        else:
            try:
                response = await self._answer(scope, receive)
            except Disconnected:
                return
            except Exception as exc:  # noqa: BLE001 # answered, and logged
                response = self._failed(scope, exc)
            self._stats.answered(response.status_code, perf_counter() - started)
        await response(scope, receive, send)

    def _failed(self, scope: Scope, exc: Exception) -> Response:
        error = exc if isinstance(exc, AimqError) else InternalError(problems.UNEXPECTED)
        if error.status == InternalError.status:
            logger.error("%s failed", scope["path"], exc_info=exc)
        return self._written(error)

    def _written(self, error: AimqError) -> Response:
        return self._problem(error, self._admission.headers(error))
