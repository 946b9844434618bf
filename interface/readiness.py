"""Readiness: what of the interface works now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from starlette.routing import Route

from aimq.errors import TransientError
from aimq.http import probes
from aimq.http.probes import UP, Readiness
from interface.context import Context

#: Longest wait for the store or the files, in seconds.
_SECONDS: Final = 3.0


def routes(context: Context) -> list[Route]:
    """Return the probes and ``/metrics``.

    The interface is ready while it can serve predictions, which need the ML service, or uploads
    and tasks, which need the store and the files. The answer says what is wrong with each part.
    """

    async def look() -> Readiness:
        store, files = await asyncio.gather(
            probes.outcome(partial(_in_time, context, context.store.check)),
            probes.outcome(partial(_in_time, context, context.files.check)),
        )
        parts = {
            "store": store,
            "files": files,
            "broker": context.queues.problem or UP,
            "ml_service": context.schema.problem or UP,
        }
        return Readiness(parts["ml_service"] == UP or store == files == UP, parts)

    return probes.routes(look, context.metrics.registry)


async def _in_time(context: Context, check: Callable[[], None]) -> None:
    try:
        async with asyncio.timeout(_SECONDS):
            await context.threads.run(check)
    except TimeoutError:
        raise TransientError(f"no answer in {_SECONDS:g} s") from None
