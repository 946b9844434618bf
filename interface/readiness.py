"""Readiness: what of the interface works now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.routing import Route

from aimq.errors import AimqError, TransientError
from aimq.http import probes
from interface.context import Context

#: Longest wait for the store or the files, in seconds.
_SECONDS: Final = 3.0
_UP: Final = "up"


def routes(context: Context) -> list[Route]:
    """Return the probes and ``/metrics``."""
    readiness = Readiness(context)
    return probes.routes(
        {"interface": readiness.check},
        context.metrics.registry,
        reported=lambda: readiness.parts,
    )


class Readiness:
    """Asks what the interface depends on. Belongs to one event loop.

    The interface is ready while it can do one of its two works: single predictions need the ML
    service; uploads and tasks need the store and the files.

    Attributes:
        parts: ``up`` or what is wrong, by name, as of the last check.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.parts: dict[str, str] = {}

    async def check(self) -> None:
        """Ask all parts. Raises `TransientError` when neither work can be done."""
        context = self._context
        store, files = await asyncio.gather(
            self._ask(context.store.check), self._ask(context.files.check)
        )
        ml_service = context.schema.problem or _UP
        broker = context.queues.problem or _UP
        self.parts = {"store": store, "files": files, "broker": broker, "ml_service": ml_service}
        if ml_service != _UP and not store == files == _UP:
            raise TransientError("Neither the ML service nor the store and its files are usable.")

    async def _ask(self, check: Callable[[], None]) -> str:
        try:
            async with asyncio.timeout(_SECONDS):
                await self._context.threads.run(check)
        except TimeoutError:
            return f"no answer in {_SECONDS:g} s"
        except AimqError as exc:
            return exc.detail
        return _UP
