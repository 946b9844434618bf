"""JobStore on Redis: a hash a job, changed by scripts, so that every step is whole.

Every method takes one round trip, and leases go by the server's clock. What is acknowledged is as
durable as the server is set up to be: ``appendonly yes`` keeps it when Redis is killed,
``appendfsync always`` when its machine fails, and ``maxmemory-policy noeviction`` keeps it from
being thrown out. ``hash-max-listpack-value 1024`` makes a task's record a third smaller. A user of
its own needs ``~aimq:* &aimq:* +@all -@dangerous +info``. Redis Cluster is not supported.
``record.lua`` says how a job is kept.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from aimq.errors import InternalError, StoreUnavailable
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Claim, Outcome, Refusal, Refused
from aimq.jobs.redis.record import (
    decoded,
    encoded,
    from_hash,
    from_pairs,
    from_summary,
    microseconds,
    outcome_fields,
    to_fields,
)
from aimq.jobs.redis.server import RedisServer
from aimq.jobs.redis.watch import RedisWatch
from aimq.settings import Settings

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

#: Most jobs in one script: bounds how long the server is kept from others (about 10 µs a job).
_BULK: Final = 1_000
_SETTLED: Final = frozenset({Status.DONE, Status.FAILED, Status.RETRYING, Status.QUEUED})
_TOKEN_BYTES: Final = 8
_CANCELLED: Final = "Cancelled on request."

_Argument = bytes | int | str


class RedisStore:
    """`aimq.jobs.port.JobStore` on the server of ``settings.store_url``. Thread-safe.

    A call whose answer was lost with its connection is sent once more where that cannot do
    anything twice: a repeated `create` finds its own jobs, a repeated `claim` its own tokens, a
    repeated `settle` its own mark. Nothing is reached before the first call.

    Raises:
        SettingsError: the URL is malformed.
    """

    def __init__(self, settings: Settings) -> None:
        self._server = RedisServer(settings.store_url)
        self._watch = RedisWatch(self._server)
        self._lifetime = settings.result_ttl_seconds * 1_000_000
        self._told_of_durability = False

    def create(self, jobs: Sequence[Job], idempotency_keys: Sequence[str] = ()) -> list[Job]:
        """See `JobStore.create`."""
        keys = idempotency_keys or [""] * len(jobs)
        pairs = list(zip(jobs, keys, strict=True))
        answers = [
            answer
            for bulk in _bulks(pairs)
            for answer in self._server.run(
                "create",
                [self._lifetime, *(item for pair in bulk for item in _creation(*pair))],
                again=True,
            )
        ]
        return [
            from_pairs(decoded(found[0]), found[1]) if found else job
            for job, found in zip(jobs, answers, strict=True)
        ]

    def get(self, job_id: str) -> Job | None:
        """See `JobStore.get`."""
        fields = self._server.call("HGETALL", b"aimq:job:" + encoded(job_id))
        if not fields:
            return None
        return from_hash(job_id, fields) if isinstance(fields, dict) else from_pairs(job_id, fields)

    def recent(self, limit: int = 50, status: Status | None = None) -> list[Job]:
        """See `JobStore.recent`."""
        if limit <= 0:
            return []
        found = self._server.run("recent", [limit, *([status] if status else Status)], again=True)
        jobs = (from_summary(decoded(job_id), values) for job_id, values in found)
        return [job for job in jobs if job]

    def mark_published(self, job_ids: Sequence[str]) -> None:
        """See `JobStore.mark_published`."""
        for bulk in _bulks(job_ids):
            self._server.run("mark_published", [encoded(job_id) for job_id in bulk], again=True)

    def take_unpublished(self, older_than: float, lease: float, limit: int = 100) -> list[Job]:
        """See `JobStore.take_unpublished`."""
        arguments = [_microseconds(older_than), _microseconds(lease), max(limit, 0)]
        taken = self._server.run("take_unpublished", arguments, again=False)
        return [from_pairs(decoded(job_id), flat) for job_id, flat in taken]

    def claim(self, job_ids: Sequence[str], owner: str, lease: float) -> list[Claim | Refused]:
        """See `JobStore.claim`."""
        given: list[Claim | Refused] = []
        for bulk in _bulks(job_ids):
            tokens = [secrets.token_hex(_TOKEN_BYTES) for _ in bulk]
            arguments: list[_Argument] = [encoded(owner), _microseconds(lease)]
            for job_id, token in zip(bulk, tokens, strict=True):
                arguments += (encoded(job_id), token)
            answers = self._server.run("claim", arguments, again=True)
            given += map(_claim, bulk, tokens, answers)
        return given

    def renew(self, claims: Sequence[Claim], lease: float) -> list[bool]:
        """See `JobStore.renew`."""
        answers: list[bool] = []
        for bulk in _bulks(claims):
            arguments: list[_Argument] = [_microseconds(lease)]
            for claim in bulk:
                arguments += (encoded(claim.job.job_id), claim.token)
            answers += map(bool, self._server.run("renew", arguments, again=True))
        return answers

    def progress(
        self, claim: Claim, *, rows_total: int | None, rows_done: int, rows_failed: int
    ) -> bool:
        """See `JobStore.progress`."""
        total = "" if rows_total is None else rows_total
        job_id = encoded(claim.job.job_id)
        arguments: list[_Argument] = [job_id, claim.token, rows_done, rows_failed, total]
        return bool(self._server.run("progress", arguments, again=True))

    def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """See `JobStore.settle`."""
        answers: list[bool] = []
        for bulk in _bulks(outcomes):
            arguments: list[_Argument] = [secrets.token_hex(_TOKEN_BYTES)]
            for outcome in bulk:
                if outcome.status not in _SETTLED:
                    raise InternalError(f"a claim cannot be settled as {outcome.status}")
                fields = outcome_fields(outcome)
                arguments += (encoded(outcome.claim.job.job_id), outcome.claim.token)
                arguments += (outcome.status, len(fields), *fields)
            answers += map(bool, self._server.run("settle", arguments, again=True))
        return answers

    def fail(self, job_id: str, error: str) -> Job | None:
        """See `JobStore.fail`."""
        return self._change("finish", job_id, Status.FAILED, encoded(error))

    def cancel(self, job_id: str) -> Job | None:
        """See `JobStore.cancel`."""
        return self._change("finish", job_id, Status.CANCELLED, _CANCELLED)

    def requeue(self, job_id: str) -> Job | None:
        """See `JobStore.requeue`."""
        return self._change("requeue", job_id)

    def _change(self, script: str, job_id: str, *arguments: _Argument) -> Job | None:
        flat = self._server.run(script, [encoded(job_id), *arguments], again=True)
        return from_pairs(job_id, flat) if flat else None

    def delete(self, job_id: str) -> bool:
        """See `JobStore.delete`."""
        return bool(self._server.run("delete", [encoded(job_id)], again=False))

    def delete_all(self, job_ids: Sequence[str]) -> None:
        """See `JobStore.delete_all`."""
        for bulk in _bulks(job_ids):
            self._server.run("delete", [encoded(job_id) for job_id in bulk], again=True)

    def take_expired(self, lease: float, limit: int = 100) -> list[str]:
        """See `JobStore.take_expired`."""
        arguments = [_microseconds(lease), max(limit, 0)]
        return list(map(decoded, self._server.run("take_expired", arguments, again=False)))

    def watch(self, listener: Callable[[Job], None]) -> Callable[[], None]:
        """See `JobStore.watch`. A mark that a job is published is no change."""
        return self._watch.add(listener)

    def check(self) -> None:
        """See `JobStore.check`. Warns once when the server may lose what it acknowledged."""
        self._server.call("SET", "aimq:check", b"1", "EX", 60)
        if not self._told_of_durability:
            self._told_of_durability = True
            self._warn_of_loss()

    def _warn_of_loss(self) -> None:
        with suppress(StoreUnavailable):  # the user may lack the right to ask
            persistence = self._server.call("INFO", "persistence")
            memory = self._server.call("INFO", "memory")
            address = self._server.address
            if not persistence.get("aof_enabled"):
                _log.warning("Redis at %s forgets jobs when killed: set appendonly yes", address)
            if memory.get("maxmemory_policy", "noeviction") != "noeviction":
                _log.warning(
                    "Redis at %s may throw jobs out: set maxmemory-policy noeviction", address
                )

    def close(self) -> None:
        """See `JobStore.close`."""
        self._watch.close()
        self._server.close()


def _bulks(items: Sequence[_T]) -> list[Sequence[_T]]:
    return [items[at : at + _BULK] for at in range(0, len(items), _BULK)]


def _microseconds(seconds: float) -> int:
    return int(seconds * 1_000_000)


def _creation(job: Job, idempotency_key: str) -> list[_Argument]:
    digest = hashlib.sha256(encoded(idempotency_key)).hexdigest()[:32] if idempotency_key else ""
    fields = to_fields(job)
    return [
        encoded(job.job_id),
        digest,
        microseconds(job.created_at),
        job.status,
        int(job.published),
        len(fields),
        *fields,
    ]


def _claim(job_id: str, token: str, answer: Sequence[Any]) -> Claim | Refused:
    word = answer[0]
    if word == b"claimed":
        return Claim(job=from_pairs(job_id, answer[2]), token=token, crashes=int(answer[1]))
    wait = int(answer[1]) / 1_000_000 if word == b"held" else 0.0
    return Refused(job_id=job_id, reason=Refusal(word.decode()), retry_in=wait)
