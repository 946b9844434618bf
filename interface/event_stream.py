"""One WebSocket that watches one job: its state at once and at every change, until it is final."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from aimq.errors import AimqError
from aimq.http.credentials import PROTOCOL
from aimq.http.guard import refuse
from aimq.jobs.job import Job
from interface import comeback
from interface.events import JobEvents, Mailbox, Render, State

_CLOSE: Final = {"type": "websocket.close", "code": 1000}


class EventStream:
    """The ASGI application of a path of WebSockets. Belongs to one event loop.

    Plain, for what comes between it and the server is gone through at every message of every
    watcher. ``job_id`` is taken from the path's parameters.

    Args:
        find: returns a job; the socket is refused with the error it raises.
        render: returns what is sent of a state.
    """

    def __init__(
        self, events: JobEvents, find: Callable[[str], Awaitable[Job]], render: Render
    ) -> None:
        self._events = events
        self._find = find
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket to its end: a final state, the reader's leaving, or the service's."""
        job_id = scope["path_params"]["job_id"]
        await receive()  # the wish to connect
        with self._events.watch(job_id) as mailbox:  # before the look-up: no change goes unseen
            try:
                job = await self._find(job_id)
            except AimqError as exc:
                await refuse(comeback.timed(exc), scope, receive, send)
                return
            named = PROTOCOL in scope.get("subprotocols", ())
            await send({"type": "websocket.accept", "subprotocol": PROTOCOL if named else None})
            leaving = asyncio.create_task(_notice_leaving(receive, mailbox))
            try:
                await self._send_states(send, State(job), mailbox)
            except OSError:
                return  # the reader vanished
            finally:
                leaving.cancel()

    async def _send_states(self, send: Send, first: State, mailbox: Mailbox) -> None:
        state: State | None = first
        while state is not None:
            await send(state.message(self._render))
            if state.final:
                await asyncio.sleep(0)  # whoever else watches the job gets its message first
                await send(_CLOSE)
                return
            state = await mailbox.take()


async def _notice_leaving(receive: Receive, mailbox: Mailbox) -> None:
    """Read and ignore what the client says, to learn when it goes."""
    message: Any = {}
    while message.get("type") != "websocket.disconnect":
        message = await receive()
    mailbox.close()
