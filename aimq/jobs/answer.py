"""A task as its readers get it: over HTTP, by WebSocket, and in a webhook. Pure."""

from __future__ import annotations

import msgspec

from aimq.jobs.job import Job, Status
from aimq.messages import Kind


def answer(job: Job) -> bytes:
    """Return ``task_id``, ``status``, ``result`` and ``error`` as JSON; a long result is shortened.

    The result is null until the task is done.
    """
    result: object = None
    if job.status is Status.DONE and job.result:
        result = msgspec.Raw(job.result)
        if job.kind is Kind.FACTORIAL:
            whole = msgspec.json.decode(job.result)
            result = {"digits": whole["digits"], "preview": whole["preview"]}
    return msgspec.json.encode(
        {"task_id": job.job_id, "status": str(job.status), "result": result, "error": job.error}
    )
