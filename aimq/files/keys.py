"""The keys of the file store: the ones there are, and what one may look like. Pure."""

from __future__ import annotations

import re
from typing import Final

from aimq.errors import InternalError

_MAX_BYTES: Final = 512
_MAX_PART_BYTES: Final = 200
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f\\]")
_OF_A_JOB: Final = re.compile(r"uploads/([0-9a-f]{32})\.xlsx|results/([0-9a-f]{32})\.(?:xlsx|txt)")
#: Where all keys of jobs begin.
FOLDERS: Final = ("uploads", "results")


def upload_key(job_id: str) -> str:
    """Return the key of a job's upload."""
    return f"uploads/{job_id}.xlsx"


def result_key(job_id: str) -> str:
    """Return the key of a job's scored spreadsheet."""
    return f"results/{job_id}.xlsx"


def digits_key(job_id: str) -> str:
    """Return the key of a factorial that is too long for the job's record."""
    return f"results/{job_id}.txt"


def file_keys(job_id: str) -> tuple[str, ...]:
    """Return every key under which a job of any kind may have a file."""
    return upload_key(job_id), result_key(job_id), digits_key(job_id)


def job_of(key: str) -> str | None:
    """Return the id of the job that a key belongs to; None for keys of other makers."""
    found = _OF_A_JOB.fullmatch(key)
    return (found[1] or found[2]) if found else None


def checked(key: str) -> str:
    """Return the key if it is a relative path of plain names, as ``uploads/1f.xlsx``.

    Names must not be empty, begin with a dot (so neither ``..`` nor a staging name of ours), hold
    a backslash or a control character, or be longer than file systems take.

    Raises:
        InternalError: it is not; keys are made by us, so that is a bug.
    """
    parts = key.split("/")
    if (
        all(_is_name(part) for part in parts)
        and not _FORBIDDEN.search(key)
        and len(key.encode(errors="surrogatepass")) <= _MAX_BYTES
    ):
        return key
    raise InternalError(f"not a key of the file store: {key[:80]!r}")


def _is_name(part: str) -> bool:
    return (
        bool(part)
        and not part.startswith(".")
        and len(part.encode(errors="surrogatepass")) <= _MAX_PART_BYTES
        and part.isprintable()
    )
