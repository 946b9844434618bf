"""The JobStore port on an SQLite file."""

# ruff: noqa: S608 # only constants of ours are put into SQL; values are bound

from __future__ import annotations

from collections.abc import Callable, Sequence

from aimq.errors import StoreUnavailable
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Claim, Outcome, Refused
from aimq.jobs.sqlite import claims, rows, tombstones
from aimq.jobs.sqlite.rows import SUMMARY, WHOLE, to_job
from aimq.jobs.sqlite.watch import Watch
from aimq.settings import Settings
from aimq.sqlite.database import open_database
from aimq.sqlite.times import MICRO, now_us
from aimq.sqlite.writer import Transaction


class SqliteStore:
    """Job records in ``AIMQ_STORE_URL`` = ``sqlite:///…``. Thread-safe; any number of processes on
    one machine may use the same file, which may also be the embedded broker's.

    What a method wrote survives the death of every process. New jobs and their outcomes survive a
    loss of power, too; a claim, a renewal, progress or a confirmation may then be undone.

    Raises:
        SettingsError: the URL or its file cannot be used, ever.
    """

    def __init__(self, settings: Settings) -> None:
        self._database = open_database(
            settings.store_url, "AIMQ_STORE_URL", settings.data_dir, StoreUnavailable
        )
        self._ttl_us = settings.result_ttl_seconds * MICRO
        self._watch = Watch(self._database)

    def create(self, jobs: Sequence[Job], idempotency_keys: Sequence[str] = ()) -> list[Job]:
        """See the port."""
        keys = idempotency_keys or [""] * len(jobs)
        pairs = list(zip(jobs, keys, strict=True))
        return self._database.write(lambda tx: [self._create(tx, *pair) for pair in pairs])

    def _create(self, tx: Transaction, job: Job, key: str) -> Job:
        if key:
            row = tx.execute(
                f"SELECT {WHOLE} FROM job WHERE idempotency_key = ? AND created_at > ?",
                (key, self._born_after()),
            ).fetchone()
            if row is not None:
                return to_job(row)
            tx.execute(  # of an expired job that was not swept yet
                "UPDATE job SET idempotency_key = NULL WHERE idempotency_key = ?", (key,)
            )
        rows.insert(tx, job, key)
        return job

    def get(self, job_id: str) -> Job | None:
        """See the port."""
        with self._database.reading() as connection:
            return rows.find(connection, job_id, self._born_after())

    def recent(self, limit: int = 50, status: Status | None = None) -> list[Job]:
        """See the port."""
        condition, values = ("", ()) if status is None else (" AND status = ?", (status.value,))
        with self._database.reading() as connection:
            found = connection.execute(
                f"SELECT {SUMMARY} FROM job WHERE created_at > ?{condition}"
                " ORDER BY created_at DESC, number DESC LIMIT ?",
                (self._born_after(), *values, limit),
            ).fetchall()
        return [to_job(row) for row in found]

    def mark_published(self, job_ids: Sequence[str]) -> None:
        """See the port."""
        known = [(job_id,) for job_id in job_ids if rows.sound(job_id)]

        def mark(tx: Transaction) -> None:
            for job_id in known:
                tx.execute("UPDATE job SET published = 1 WHERE job_id = ?", job_id)

        self._database.write(mark, durable=False)

    def take_unpublished(self, older_than: float, lease: float, limit: int = 100) -> list[Job]:
        """See the port."""
        now = now_us()
        return self._database.write(
            lambda tx: self._sweep(
                tx,
                "published = 0 AND status = 'queued' AND created_at <= ? AND created_at > ?",
                (now - int(older_than * MICRO), now - self._ttl_us),
                now + int(lease * MICRO),
                limit,
            ),
            durable=False,
        )

    def claim(self, job_ids: Sequence[str], owner: str, lease: float) -> list[Claim | Refused]:
        """See the port."""

        def give(tx: Transaction) -> list[Claim | Refused]:
            now = now_us()
            return [
                claims.claim(tx, job_id, owner, lease, now, now - self._ttl_us)
                for job_id in job_ids
            ]

        return self._database.write(give, durable=False)

    def renew(self, claims_: Sequence[Claim], lease: float) -> list[bool]:
        """See the port."""
        until = now_us() + int(lease * MICRO)
        return self._database.write(
            lambda tx: [claims.renew(tx, claim, until) for claim in claims_], durable=False
        )

    def progress(
        self, claim: Claim, *, rows_total: int | None, rows_done: int, rows_failed: int
    ) -> bool:
        """See the port."""

        def store(tx: Transaction) -> bool:
            if not claims.holds(tx, claim):
                return False
            rows.change(
                tx,
                claim.job.job_id,
                "rows_total = ?, rows_done = ?, rows_failed = ?",
                (rows_total, rows_done, rows_failed),
            )
            return True

        return self._database.write(store, durable=False)

    def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """See the port."""
        now = now_us()
        return self._database.write(
            lambda tx: [claims.settle(tx, outcome, now) for outcome in outcomes]
        )

    def fail(self, job_id: str, error: str) -> Job | None:
        """See the port."""
        return self._finish(job_id, Status.FAILED, error)

    def cancel(self, job_id: str) -> Job | None:
        """See the port."""
        return self._finish(job_id, Status.CANCELLED, "Cancelled on request.")

    def _finish(self, job_id: str, status: Status, error: str) -> Job | None:
        def finish(tx: Transaction) -> Job | None:
            job = rows.find(tx, job_id, self._born_after())
            if job is None or job.final:
                return job
            rows.change(
                tx,
                job_id,
                f"status = ?, error = ?, finished_at = ?, {claims.FREE}",
                (status.value, error, now_us()),
            )
            return rows.find(tx, job_id, self._born_after())

        return self._database.write(finish)

    def requeue(self, job_id: str) -> Job | None:
        """See the port."""

        def requeue(tx: Transaction) -> Job | None:
            job = rows.find(tx, job_id, self._born_after())
            if job is None or job.status is not Status.FAILED:
                return job
            rows.change(
                tx,
                job_id,
                "status = 'queued', attempts = 0, crashes = 0, error = NULL, finished_at = NULL,"
                f" published = 1, {claims.FREE}",
            )
            return rows.find(tx, job_id, self._born_after())

        return self._database.write(requeue)

    def delete(self, job_id: str) -> bool:
        """See the port."""
        if not rows.sound(job_id):
            return False

        def delete(tx: Transaction) -> bool:
            row = tx.execute(
                "DELETE FROM job WHERE job_id = ? RETURNING created_at", (job_id,)
            ).fetchone()
            if row is None:
                return False
            tombstones.leave(tx, job_id, row[0] + self._ttl_us, now_us())
            return True

        return self._database.write(delete)

    def delete_all(self, job_ids: Sequence[str]) -> None:
        """See the port."""
        known = [(job_id,) for job_id in job_ids if rows.sound(job_id)]

        def forget(tx: Transaction) -> None:
            for job_id in known:
                tx.execute("DELETE FROM job WHERE job_id = ?", job_id)

        self._database.write(forget, durable=False)

    def take_expired(self, lease: float, limit: int = 100) -> list[str]:
        """See the port."""
        now = now_us()
        found = self._database.write(
            lambda tx: self._sweep(
                tx, "created_at <= ?", (now - self._ttl_us,), now + int(lease * MICRO), limit
            ),
            durable=False,
        )
        return [job.job_id for job in found]

    def _sweep(
        self, tx: Transaction, condition: str, values: tuple[int, ...], until: int, limit: int
    ) -> list[Job]:
        """Return jobs, oldest first, that nobody else is sweeping, and keep them until `until`."""
        found = tx.execute(
            f"SELECT {WHOLE} FROM job WHERE {condition} AND swept_until <= ?"
            " ORDER BY created_at LIMIT ?",
            (*values, now_us(), limit),
        ).fetchall()
        jobs = [to_job(row) for row in found]
        for job in jobs:
            tx.execute("UPDATE job SET swept_until = ? WHERE job_id = ?", (until, job.job_id))
        return jobs

    def watch(self, listener: Callable[[Job], None]) -> Callable[[], None]:
        """See the port."""
        return self._watch.add(listener)

    def check(self) -> None:
        """See the port."""
        self._database.check()

    def close(self) -> None:
        """See the port."""
        self._watch.close()
        self._database.close()

    def _born_after(self) -> int:
        return now_us() - self._ttl_us
