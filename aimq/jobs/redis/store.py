"""JobStore on Redis: a hash a job, changed by scripts, so that every step is whole.

Every method takes one round trip, and leases go by the server's clock. What is acknowledged is as
durable as the server is set up to be: ``appendonly yes`` keeps it when Redis is killed,
``appendfsync always`` when its machine fails, ``?wait=1`` in the URL when a replica takes its
place, and ``maxmemory-policy noeviction`` keeps it from being thrown out.
``hash-max-listpack-value 1024`` makes a task's record a third smaller. A user of its own needs
``~aimq:* &aimq:* +@all -@dangerous +info``. Redis Cluster is not supported. ``record.lua`` says how
a job is kept.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

from aimq.errors import InternalError, StoreUnavailable
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Claim, Outcome, Refusal, Refused
from aimq.jobs.redis.record import (
    decoded,
    encoded,
    from_hash,
    from_pairs,
    job_fields,
    outcome_fields,
)
from aimq.jobs.redis.server import Argument, RedisServer
from aimq.jobs.redis.watch import Watch
from aimq.settings import Settings
from aimq.times import MICRO, to_us

_log = logging.getLogger(__name__)

#: Most jobs in one script: bounds how long the server is kept from others (about 10 µs a job).
_BULK: Final = 1_000
_TOKEN_BYTES: Final = 8
_CANCELLED: Final = "Cancelled on request."


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
        self._watches: list[Watch] = []
        self._lifetime = settings.result_ttl_seconds * MICRO
        self._production = settings.environment == "production"
        self._told_of_durability = False

    def create(self, jobs: Sequence[Job], idempotency_keys: Sequence[str] = ()) -> list[Job]:
        """See `JobStore.create`."""
        keys = idempotency_keys or [""] * len(jobs)
        pairs = zip(jobs, keys, strict=True)
        answers = self._each(
            "create", [self._lifetime], [_creation(*pair) for pair in pairs], replicated=True
        )
        return [
            from_pairs(decoded(found[0]), found[1]) if found else job
            for job, found in zip(jobs, answers, strict=True)
        ]

    def get(self, job_id: str) -> Job | None:
        """See `JobStore.get`."""
        fields = self._server.call(lambda client: client.hgetall(b"aimq:job:" + encoded(job_id)))
        return from_hash(job_id, fields) if fields else None

    def recent(self, limit: int = 50, status: Status | None = None) -> list[Job]:
        """See `JobStore.recent`."""
        statuses = [status] if status else list(Status)
        found = self._server.run("recent", [max(limit, 0), *statuses])
        return [from_pairs(decoded(job_id), pairs) for job_id, pairs in found]

    def mark_published(self, job_ids: Sequence[str]) -> None:
        """See `JobStore.mark_published`."""
        self._each("mark_published", [], [(encoded(job_id),) for job_id in job_ids])

    def take_unpublished(self, older_than: float, lease: float, limit: int = 100) -> list[Job]:
        """See `JobStore.take_unpublished`."""
        arguments = [_microseconds(older_than), _microseconds(lease), max(limit, 0)]
        taken = self._server.run("take_unpublished", arguments, again=False)
        return [from_pairs(decoded(job_id), pairs) for job_id, pairs in taken]

    def claim(self, job_ids: Sequence[str], owner: str, lease: float) -> list[Claim | Refused]:
        """See `JobStore.claim`."""
        tokens = [secrets.token_hex(_TOKEN_BYTES) for _ in job_ids]
        pairs = [(encoded(job_id), token) for job_id, token in zip(job_ids, tokens, strict=True)]
        answers = self._each("claim", [encoded(owner), _microseconds(lease)], pairs)
        return list(map(_claim, job_ids, tokens, answers))

    def renew(self, claims: Sequence[Claim], lease: float) -> list[bool]:
        """See `JobStore.renew`."""
        held = [(encoded(claim.job.job_id), claim.token) for claim in claims]
        return list(map(bool, self._each("renew", [_microseconds(lease)], held)))

    def progress(
        self, claim: Claim, *, rows_total: int | None, rows_done: int, rows_failed: int
    ) -> bool:
        """See `JobStore.progress`."""
        total = "" if rows_total is None else rows_total
        job_id = encoded(claim.job.job_id)
        return bool(
            self._server.run("progress", [job_id, claim.token, rows_done, rows_failed, total])
        )

    def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """See `JobStore.settle`."""
        mark = secrets.token_hex(_TOKEN_BYTES)
        settlements = list(map(_settlement, outcomes))
        return list(map(bool, self._each("settle", [mark], settlements, replicated=True)))

    def fail(self, job_id: str, error: str) -> Job | None:
        """See `JobStore.fail`."""
        return self._change("finish", job_id, Status.FAILED, encoded(error))

    def cancel(self, job_id: str) -> Job | None:
        """See `JobStore.cancel`."""
        return self._change("finish", job_id, Status.CANCELLED, _CANCELLED)

    def requeue(self, job_id: str) -> Job | None:
        """See `JobStore.requeue`."""
        return self._change("requeue", job_id)

    def delete(self, job_id: str) -> bool:
        """See `JobStore.delete`."""
        return bool(self._server.run("delete", [encoded(job_id)], again=False)[0])

    def delete_all(self, job_ids: Sequence[str]) -> None:
        """See `JobStore.delete_all`."""
        self._each("delete", [], [(encoded(job_id),) for job_id in job_ids])

    def take_expired(self, lease: float, limit: int = 100) -> list[str]:
        """See `JobStore.take_expired`."""
        arguments = [_microseconds(lease), max(limit, 0)]
        return list(map(decoded, self._server.run("take_expired", arguments, again=False)))

    def watch(self, listener: Callable[[Job], None]) -> Callable[[], None]:
        """See `JobStore.watch`. A mark that a job is published is no change."""
        watch = Watch(self._server, listener)
        self._watches.append(watch)
        return watch.stop

    def check(self) -> None:
        """See `JobStore.check`.

        A server that may lose what it acknowledged is refused in production, and warned of once
        in development.
        """
        self._server.call(lambda client: client.set("aimq:check", 1, ex=60))
        if not self._told_of_durability:
            for risk in self._risks():
                if self._production:
                    raise StoreUnavailable(risk)
                _log.warning("%s", risk)
            self._told_of_durability = True

    def _risks(self) -> list[str]:
        """Return how the server may lose jobs; nothing where it does not let us ask."""
        try:
            info = self._server.call(lambda client: client.info())
        except StoreUnavailable as exc:
            _log.debug("%s", exc)
            return []
        shown = f"Redis at {self._server.address}"
        risks = []
        if not info.get("aof_enabled"):
            risks.append(f"{shown} forgets jobs when killed: set appendonly yes")
        if info.get("maxmemory_policy", "noeviction") != "noeviction":
            risks.append(f"{shown} may throw jobs out: set maxmemory-policy noeviction")
        return risks

    def close(self) -> None:
        """See `JobStore.close`."""
        for watch in self._watches:
            watch.stop()
        for watch in self._watches:
            watch.join()
        self._server.close()

    def _each(
        self,
        script: str,
        head: Sequence[Argument],
        items: Sequence[Sequence[Argument]],
        *,
        replicated: bool = False,
    ) -> list[Any]:
        """Run a script on items, so many in a call; return its answers, one an item."""
        answers: list[Any] = []
        for at in range(0, len(items), _BULK):
            arguments = [*head, *chain(*items[at : at + _BULK])]
            answers += self._server.run(script, arguments, replicated=replicated)
        return answers

    def _change(self, script: str, job_id: str, *arguments: Argument) -> Job | None:
        pairs = self._server.run(script, [encoded(job_id), *arguments])
        return from_pairs(job_id, pairs) if pairs else None


def _microseconds(seconds: float) -> int:
    return int(seconds * MICRO)


def _creation(job: Job, idempotency_key: str) -> list[Argument]:
    digest = hashlib.sha256(encoded(idempotency_key)).hexdigest()[:32] if idempotency_key else ""
    fields = job_fields(job)
    head = (encoded(job.job_id), digest, to_us(job.created_at), job.status, int(job.published))
    return [*head, len(fields), *fields]


def _claim(job_id: str, token: str, answer: Sequence[Any]) -> Claim | Refused:
    word = answer[0]
    if word == b"claimed":
        return Claim(job=from_pairs(job_id, answer[2]), token=token, crashes=int(answer[1]))
    wait = int(answer[1]) / MICRO if word == b"held" else 0.0
    return Refused(job_id=job_id, reason=Refusal(word.decode()), retry_in=wait)


def _settlement(outcome: Outcome) -> list[Argument]:
    if outcome.status in {Status.PROCESSING, Status.CANCELLED}:
        raise InternalError(f"a claim cannot be settled as {outcome.status}")
    fields = outcome_fields(outcome)
    claim = outcome.claim
    return [encoded(claim.job.job_id), claim.token, outcome.status, len(fields), *fields]
