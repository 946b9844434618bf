"""Dead letters over HTTP: what failed, why and how often; replay and deletion."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from aimq import messages
from aimq.broker.port import DeadMessage
from aimq.broker.topology import SHORT_NAMES, WORK_QUEUES
from aimq.errors import BrokerUnavailable, MessageRejected, NotFound
from aimq.http.problems import documented
from aimq.jobs.job import Status
from interface.context import Context
from interface.responses import json_response

#: Dead letters of one queue that are looked through for an id, and replayed by one request.
_SEARCHED: Final = 10_000
_REPLAYED: Final = 1000
#: Bytes of a payload that are shown.
_SHOWN: Final = 64 * 1024

QueueName = Literal[
    "uploads",
    "tasks",
    "predictions",
    "factorials",
    "webhooks",
    "aimq.uploads",
    "aimq.tasks",
    "aimq.tasks.factorial",
    "aimq.webhooks",
]
Limit = Annotated[int, Query(ge=1, le=1000)]


def router(context: Context) -> APIRouter:
    """Return the routes under ``/dead-letters``."""
    routes = APIRouter(prefix="/dead-letters", tags=["dead letters"])

    @routes.get("", summary="Dead letters, oldest first", responses=documented(422, 503))
    async def listed(queue: QueueName | None = None, limit: Limit = 100) -> Response:
        letters = await context.broker_threads.run(_list, context, _queues(queue), limit)
        return json_response([_summary(letter) for letter in letters[:limit]])

    @routes.post("/replay", summary="Replay all dead letters", responses=documented(422, 503))
    async def replay_all(queue: QueueName | None = None, limit: Limit = _REPLAYED) -> Response:
        replayed = await context.broker_threads.run(_replay_all, context, _queues(queue), limit)
        return json_response({"replayed": len(replayed), "ids": replayed})

    @routes.get("/{dead_letter_id}", summary="One in full", responses=documented(404, 503))
    async def one(dead_letter_id: str) -> Response:
        letter = await context.broker_threads.run(_find, context, dead_letter_id)
        return json_response(_summary(letter) | _details(letter))

    @routes.post("/{dead_letter_id}/replay", summary="Try it again", responses=documented(404, 503))
    async def replay(dead_letter_id: str) -> Response:
        letter = await context.broker_threads.run(_find, context, dead_letter_id)
        if not await context.broker_threads.run(_replay, context, letter):
            raise _unknown()
        return json_response({"replayed": 1, "ids": [letter.id]})

    @routes.delete(
        "/{dead_letter_id}", status_code=204, summary="Forget it", responses=documented(404, 503)
    )
    async def discard(dead_letter_id: str) -> Response:
        await context.broker_threads.run(_discard, context, dead_letter_id)
        return Response(status_code=204)

    return routes


def _queues(name: str | None) -> Iterable[str]:
    return WORK_QUEUES if name is None else SHORT_NAMES.get(name, (name,))


def _list(context: Context, queues: Iterable[str], limit: int) -> list[DeadMessage]:
    return [letter for queue in queues for letter in context.broker.dead_letters(queue, limit)]


def _find(context: Context, dead_letter_id: str) -> DeadMessage:
    for letter in _list(context, WORK_QUEUES, _SEARCHED):
        if letter.id == dead_letter_id:
            return letter
    raise _unknown()


def _unknown() -> NotFound:
    return NotFound("No dead letter has this id; it may have been replayed or deleted.")


def _replay_all(context: Context, queues: Iterable[str], limit: int) -> list[str]:
    letters = _list(context, queues, limit)[:limit]
    return [letter.id for letter in letters if _replay(context, letter)]


def _replay(context: Context, letter: DeadMessage) -> bool:
    """Queue the job, then its message: in the other order a quick worker would find the job failed
    and forget the message. False: another caller has replayed or deleted the letter.
    """
    job_id = _job_id(letter)
    job = context.store.get(job_id)
    context.store.requeue(job_id)
    try:
        replayed = context.broker.replay(letter.queue, letter.id)
    except BrokerUnavailable:
        if job is not None and job.status is Status.FAILED:
            context.store.fail(job_id, job.error or letter.failure.error)
        raise
    if replayed is None:
        _publish_again(context, job_id, letter)
    return replayed is not None


def _publish_again(context: Context, job_id: str, letter: DeadMessage) -> None:
    """Publish the message of a job whose letter was taken by another caller: if that one deleted
    it, the job has no other message; if that one replayed it, the claim makes a second harmless.
    """
    job = context.store.get(job_id)
    if job is not None and not job.final and not letter.failure.unprocessable:
        message = messages.Message(job_id=job_id, kind=job.kind, traceparent=job.traceparent)
        context.broker.publish(letter.queue, message).result()


def _discard(context: Context, dead_letter_id: str) -> None:
    for queue in WORK_QUEUES:
        if context.broker.discard(queue, dead_letter_id) is not None:
            return
    raise _unknown()


def _job_id(letter: DeadMessage) -> str:
    """Return the job a dead letter names; its message id when the body cannot be read."""
    try:
        return messages.decode(letter.body).job_id
    except MessageRejected:
        return letter.message_id


def _summary(letter: DeadMessage) -> dict[str, Any]:
    return {
        "id": letter.id,
        "queue": letter.queue,
        "job_id": _job_id(letter),
        "class": "unprocessable" if letter.failure.unprocessable else "failed",
        "error": letter.failure.error,
        "error_type": letter.failure.error_type,
        "attempts": letter.attempts,
        "first_failed_at": letter.first_failed_at,
        "last_failed_at": letter.last_failed_at,
        "replays": len(letter.history),
    }


def _details(letter: DeadMessage) -> dict[str, Any]:
    shown = letter.body[:_SHOWN]
    try:
        payload, encoding = shown.decode(), "utf-8"
    except UnicodeDecodeError:
        payload, encoding = base64.b64encode(shown).decode(), "base64"
    return {
        "payload": payload,
        "payload_encoding": encoding,
        "payload_bytes": len(letter.body),
        "traceback": letter.failure.traceback,
        "history": letter.history,
    }
