"""The JobStore port on an SQLite file."""

# ruff: noqa: S608 # only constants of ours are put into SQL; values are bound

from __future__ import annotations

from collections.abc import Callable, Sequence

from aimq.errors import StoreUnavailable
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Claim, Outcome, Refused
from aimq.jobs.sqlite import claims, rows, tombstones
from aimq.jobs.sqlite.watch import Watch
from aimq.settings import Settings
from aimq.sqlite.database import Database
from aimq.sqlite.writer import Transaction
from aimq.times import MICRO, now_us


class SqliteStore:
    """Job records in ``AIMQ_STORE_URL`` = ``sqlite:///…``. Thread-safe; any number of processes on
    one machine may use the same file, which may also be the one of `SqliteBroker`.

    What a method wrote survives the death of every process. New jobs and their outcomes survive a
    loss of power, too; a claim, a renewal, progress or a confirmation may then be undone.

    Raises:
        SettingsError: the URL or its file cannot be used, ever.
    """

    def __init__(self, settings: Settings) -> None:
        self._database = Database(
            settings.store_url, "AIMQ_STORE_URL", settings.data_dir, StoreUnavailable
        )
        self._ttl_us = settings.result_ttl_seconds * MICRO
        self._watch = Watch(self._database)

    def create(self, jobs: Sequence[Job], idempotency_keys: Sequence[str] = ()) -> list[Job]:
        """See the port."""
        keys = idempotency_keys or [""] * len(jobs)
        pairs = list(zip(jobs, keys, strict=True))
        return self._database.write(lambda tx: [self._create(tx, *pair) for pair in pairs])

    def get(self, job_id: str) -> Job | None:
        """See the port."""
        with self._database.reading() as connection:
            return rows.find(connection, job_id, self._born_after())

    def recent(self, limit: int = 50, status: Status | None = None) -> list[Job]:
        """See the port."""
        condition, values = ("", ()) if status is None else (" AND status = ?", (status,))
        with self._database.reading() as connection:
            found = connection.execute(
                f"SELECT {rows.SUMMARY} FROM job WHERE created_at > ?{condition}"
                " ORDER BY created_at DESC, number DESC LIMIT ?",
                (self._born_after(), *values, limit),
            ).fetchall()
        return [rows.to_job(row) for row in found]

    def mark_published(self, job_ids: Sequence[str]) -> None:
        """See the port."""
        self._for_each(job_ids, "UPDATE job SET published = 1 WHERE job_id = ?")

    def take_unpublished(self, older_than: float, lease: float, limit: int = 100) -> list[Job]:
        """See the port."""
        now = now_us()
        return self._sweep(
            "published = 0 AND status = 'queued' AND created_at <= ? AND created_at > ?",
            (now - int(older_than * MICRO), now - self._ttl_us),
            lease,
            limit,
        )

    def claim(self, job_ids: Sequence[str], owner: str, lease: float) -> list[Claim | Refused]:
        """See the port."""

        def claim(tx: Transaction) -> list[Claim | Refused]:
            now = self._database.now_us()
            born_after = self._born_after()
            return [claims.claim(tx, each, owner, lease, now, born_after) for each in job_ids]

        return self._database.write(claim, durable=False)

    def renew(self, claims_: Sequence[Claim], lease: float) -> list[bool]:
        """See the port."""
        until = self._database.now_us() + int(lease * MICRO)
        return self._database.write(
            lambda tx: [claims.renew(tx, claim, until) for claim in claims_], durable=False
        )

    def progress(
        self, claim: Claim, *, rows_total: int | None, rows_done: int, rows_failed: int
    ) -> bool:
        """See the port."""

        def progress(tx: Transaction) -> bool:
            if not claims.holds(tx, claim):
                return False
            counts = (rows_total, rows_done, rows_failed)
            assignments = "rows_total = ?, rows_done = ?, rows_failed = ?"
            rows.change(tx, claim.job.job_id, assignments, counts)
            return True

        return self._database.write(progress, durable=False)

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

    def requeue(self, job_id: str) -> Job | None:
        """See the port."""
        return self._change_if(
            job_id,
            lambda job: job.status is Status.FAILED,
            "status = 'queued', attempts = 0, crashes = 0, error = NULL, finished_at = NULL,"
            " published = 1",
        )

    def delete(self, job_id: str) -> bool:
        """See the port."""

        def delete(tx: Transaction) -> bool:
            statement = "DELETE FROM job WHERE job_id = ? RETURNING created_at"
            row = tx.execute(statement, (job_id,)).fetchone()
            if row is None:
                return False
            tombstones.leave(tx, job_id, row["created_at"] + self._ttl_us, now_us())
            return True

        return rows.valid_id(job_id) and self._database.write(delete)

    def delete_all(self, job_ids: Sequence[str]) -> None:
        """See the port."""
        self._for_each(job_ids, "DELETE FROM job WHERE job_id = ?")

    def take_expired(self, lease: float, limit: int = 100) -> list[str]:
        """See the port."""
        expired = self._sweep("created_at <= ?", (self._born_after(),), lease, limit)
        return [job.job_id for job in expired]

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

    def _create(self, tx: Transaction, job: Job, key: str) -> Job:
        if key:
            row = tx.execute(
                f"SELECT {rows.WHOLE} FROM job WHERE idempotency_key = ? AND created_at > ?",
                (key, self._born_after()),
            ).fetchone()
            if row is not None:
                return rows.to_job(row)
            tx.execute(  # of an expired job that was not swept yet
                "UPDATE job SET idempotency_key = NULL WHERE idempotency_key = ?", (key,)
            )
        rows.insert(tx, job, key)
        return job

    def _finish(self, job_id: str, status: Status, error: str) -> Job | None:
        return self._change_if(
            job_id,
            lambda job: not job.final,
            "status = ?, error = ?, finished_at = ?",
            (status, error, now_us()),
        )

    def _change_if(
        self,
        job_id: str,
        condition: Callable[[Job], bool],
        assignments: str,
        values: Sequence[object] = (),
    ) -> Job | None:
        """Void the claim of a job and set columns, if the condition holds. Returns the job."""

        def change(tx: Transaction) -> Job | None:
            job = rows.find(tx, job_id, self._born_after())
            if job is None or not condition(job):
                return job
            return rows.change(tx, job_id, f"{assignments}, {claims.FREE}", values)

        return self._database.write(change)

    def _for_each(self, job_ids: Sequence[str], statement: str) -> None:
        """Run a statement for each id in one transaction."""
        known = [job_id for job_id in job_ids if rows.valid_id(job_id)]

        def run(tx: Transaction) -> None:
            for job_id in known:
                tx.execute(statement, (job_id,))

        self._database.write(run, durable=False)

    def _sweep(
        self, condition: str, values: tuple[int, ...], lease: float, limit: int
    ) -> list[Job]:
        """Return jobs that no other sweep has, oldest first, and keep them for `lease` seconds."""
        now = self._database.now_us()
        until = now + int(lease * MICRO)

        def sweep(tx: Transaction) -> list[Job]:
            found = tx.execute(
                f"SELECT {rows.WHOLE} FROM job WHERE {condition} AND swept_until <= ?"
                " ORDER BY created_at LIMIT ?",
                (*values, now, limit),
            ).fetchall()
            for row in found:
                tx.execute(
                    "UPDATE job SET swept_until = ? WHERE job_id = ?", (until, row["job_id"])
                )
            return [rows.to_job(row) for row in found]

        return self._database.write(sweep, durable=False)
