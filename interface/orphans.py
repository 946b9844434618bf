"""Deletes files that no job names: a process was killed before it recorded an upload's job, or a
worker wrote a result after its claim was void or the job deleted.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from aimq.files.keys import FOLDERS, job_of, result_key, upload_key
from aimq.jobs.job import Job
from interface.context import Context

#: Age at which a file is looked up, in seconds. An upload's record follows its file within
#: seconds; a day lets an operator restore a store that has lost its records.
_ORPHANED_SECONDS: Final = 86_400.0
#: Files that are looked up in one call on a thread.
_BATCH: Final = 200


async def delete_orphans(context: Context) -> None:
    """Delete files older than a day that no job names. Safe in replicas.

    Raises:
        StoreUnavailable, FilesUnavailable: the rest waits for the next round.
    """
    old = iter(await context.threads.run(_old_files, context))
    while batch := list(islice(old, _BATCH)):
        context.metrics.orphans.inc(await context.threads.run(_delete, context, batch))


def _old_files(context: Context) -> list[tuple[str, str]]:
    """Return (job id, key) of old files; keys that are not ours are left out. Blocks."""
    return [
        (job_id, key)
        for folder in FOLDERS
        for key in context.files.keys(folder, older_than=_ORPHANED_SECONDS)
        if (job_id := job_of(key)) is not None
    ]


def _delete(context: Context, files: list[tuple[str, str]]) -> int:
    """Return how many were deleted. Blocks."""
    orphans = [key for job_id, key in files if _is_orphan(context.store.get(job_id), key)]
    for key in orphans:
        context.files.delete(key)
    return len(orphans)


def _is_orphan(job: Job | None, key: str) -> bool:
    """True if the job is gone, or has ended and does not name the file."""
    return job is None or (job.final and key not in {upload_key(job.job_id), result_key(job)})
