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
from interface.job_events import JobEvents, Mailbox

_CLOSE: Final = {"type": "websocket.close", "code": 1000}


class EventStream:
    """The ASGI application of a WebSocket route. Belongs to one event loop.

    It sends ASGI messages itself: one that is encoded once goes to all watchers of a job. The path
    has the parameter ``job_id``.

    Args:
        find: returns a job; the socket is refused with the error it raises.
        render: returns what is sent of a job, as JSON.
    """

    def __init__(
        self,
        events: JobEvents,
        find: Callable[[str], Awaitable[Job]],
        render: Callable[[Job], bytes],
    ) -> None:
        self._events = events
        self._find = find
        self._render = render
        self._last: tuple[Job | None, dict[str, str]] = (None, {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket until a final state, or until the reader or the service leaves."""
        job_id = scope["path_params"]["job_id"]
        await receive()  # websocket.connect
        with self._events.watch(job_id) as mailbox:  # before the look-up: no change is missed
            try:
                job = await self._find(job_id)
            except AimqError as exc:
                await refuse(exc, scope, receive, send)
                return
            named = PROTOCOL in scope.get("subprotocols", ())
            await send({"type": "websocket.accept", "subprotocol": PROTOCOL if named else None})
            leaving = asyncio.create_task(_notice_leaving(receive, mailbox))
            try:
                await self._send_states(send, job, mailbox)
            except OSError:
                return  # the reader vanished
            finally:
                leaving.cancel()

    async def _send_states(self, send: Send, first: Job, mailbox: Mailbox) -> None:
        job: Job | None = first
        while job is not None:
            await send(self._message(job))
            if job.final:
                await asyncio.sleep(0)  # the other watchers of the job get its message first
                await send(_CLOSE)
                return
            job = await mailbox.take()

    def _message(self, job: Job) -> dict[str, str]:
        """Return the ASGI message that sends a job. Its watchers ask one after the other."""
        if self._last[0] is not job:
            self._last = job, {"type": "websocket.send", "text": self._render(job).decode()}
        return self._last[1]


async def _notice_leaving(receive: Receive, mailbox: Mailbox) -> None:
    """Read and ignore what the client sends, and close the mailbox when it leaves."""
    message: Any = {}
    while message.get("type") != "websocket.disconnect":
        message = await receive()
    mailbox.close()
