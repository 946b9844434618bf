"""One WebSocket that watches one job: its state at once and at every change, until it is final."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from aimq.errors import NotFound
from aimq.http import problems
from aimq.jobs.job import Job
from interface.events import JobEvents, Mailbox, State
from interface.guard import PROTOCOL

#: What is sent of a state, as JSON text.
Render = Callable[[State], Awaitable[str]]


async def stream(
    events: JobEvents,
    websocket: WebSocket,
    job_id: str,
    find: Callable[[str], Awaitable[Job]],
    render: Render,
) -> None:
    """Serve a WebSocket to its end: a final state, the reader's leaving, or the service's.

    Args:
        find: returns the job; the socket is refused with the `NotFound` it raises.
    """
    with events.watch(job_id) as mailbox:  # before the look-up: no change goes unseen
        try:
            job = await find(job_id)
        except NotFound as exc:
            await websocket.send_denial_response(problems.response(exc))
            return
        named = PROTOCOL in websocket.scope.get("subprotocols", ())
        await websocket.accept(subprotocol=PROTOCOL if named else None)
        leaving = asyncio.create_task(_notice_leaving(websocket, mailbox))
        try:
            await _send_states(websocket, State(job), mailbox, render)
        except WebSocketDisconnect:
            return  # the reader vanished
        finally:
            leaving.cancel()
            with suppress(asyncio.CancelledError):
                await leaving


async def _send_states(
    websocket: WebSocket, first: State, mailbox: Mailbox, render: Render
) -> None:
    state: State | None = first
    while state is not None:
        await websocket.send_text(await render(state))
        if state.final:
            await asyncio.sleep(0)  # whoever else watches the job gets its message first
            await websocket.close(1000)
            return
        state = await mailbox.take()


async def _notice_leaving(websocket: WebSocket, mailbox: Mailbox) -> None:
    """Read and ignore what the client says, to learn when it goes."""
    message: Any = {}
    while message.get("type") != "websocket.disconnect":
        message = await websocket.receive()
    mailbox.close()
