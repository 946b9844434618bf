"""Files that no job names: of an upload whose process was killed before the job was recorded, or of
a worker that wrote its result after the job was deleted.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

from interface.context import Context

#: An upload's record follows its file within seconds, unless the machine stands still. A day lets
#: an operator whose store has lost its records bring them back before the files are gone, too.
_ORPHANED_SECONDS: Final = 86_400.0
#: So many files are looked up without giving the thread back.
_BATCH: Final = 200
_KEY: Final = re.compile(r"(?:uploads|results)/([0-9a-f]{32})\.xlsx")


async def delete_orphans(context: Context) -> None:
    """Delete files put more than a day ago whose job is unknown to the store; leave all others.

    Safe in replicas: what one has deleted the others pass over.

    Raises:
        StoreUnavailable, FilesUnavailable: nothing is known now; what is left is taken up later.
    """
    old = iter(await context.threads.run(_old_files, context))
    while batch := list(islice(old, _BATCH)):
        context.metrics.orphans.inc(await context.threads.run(_delete, context, batch))


def _old_files(context: Context) -> list[tuple[str, str]]:
    """Return (job id, key) of files old enough; names that are not ours are passed over. Blocks."""
    return [
        (named[1], key)
        for folder in ("uploads", "results")
        for key in context.files.keys(folder, older_than=_ORPHANED_SECONDS)
        if (named := _KEY.fullmatch(key))
    ]


def _delete(context: Context, files: list[tuple[str, str]]) -> int:
    """Return how many were deleted. Blocks."""
    orphans = [key for job_id, key in files if context.store.get(job_id) is None]
    for key in orphans:
        context.files.delete(key)
    return len(orphans)
