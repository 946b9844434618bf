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
    """Return the probes and ``/metrics``.

    The interface is ready while it can serve predictions, which need the ML service, or uploads
    and tasks, which need the store and the files. The answer says what is wrong with each part.
    """
    parts: dict[str, str] = {}

    async def check() -> None:
        store, files = await asyncio.gather(
            _ask(context, context.store.check), _ask(context, context.files.check)
        )
        ml_service = context.schema.problem or _UP
        broker = context.queues.problem or _UP
        parts.update(store=store, files=files, broker=broker, ml_service=ml_service)
        if ml_service != _UP and not store == files == _UP:
            raise TransientError("Neither predictions nor uploads can be served.")

    return probes.routes(
        {"interface": check}, context.metrics.registry, reported=lambda: dict(parts)
    )


async def _ask(context: Context, check: Callable[[], None]) -> str:
    try:
        async with asyncio.timeout(_SECONDS):
            await context.threads.run(check)
    except TimeoutError:
        return f"no answer in {_SECONDS:g} s"
    except AimqError as exc:
        return exc.detail
    return _UP
