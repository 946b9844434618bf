"""The keys of the file store, all made here, and the form that a key has. Pure.

========================================  ====================================================
``uploads/<job id>.xlsx``                 an upload
``results/<job id>/<token>.xlsx``         a scored workbook, by the claim with that token
``results/<job id>/<token>.txt``          the digits of a factorial too long for the record
``results/<job id>.xlsx``, ``….txt``      the same, of an earlier version
========================================  ====================================================
"""

from __future__ import annotations

import re
from typing import Final

from aimq.errors import InternalError
from aimq.jobs.job import Job
from aimq.jobs.port import Claim
from aimq.messages import Kind

_MAX_BYTES: Final = 512
_MAX_PART_BYTES: Final = 200
_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f\\]")
_OF_A_JOB: Final = re.compile(
    r"uploads/([0-9a-f]{32})\.xlsx|results/([0-9a-f]{32})(?:/[0-9a-f]+)?\.(?:xlsx|txt)"
)
#: Where all keys of jobs begin.
FOLDERS: Final = ("uploads", "results")


def upload_key(job_id: str) -> str:
    """Return the key of a job's upload."""
    return f"uploads/{job_id}.xlsx"


def new_result_key(claim: Claim) -> str:
    """Return the key under which a claim's holder stores the result.

    No other claim writes there, so that a worker whose claim is void replaces nothing.
    """
    return f"{result_folder(claim.job.job_id)}/{claim.token}.{_suffix(claim.job)}"


def result_key(job: Job) -> str:
    """Return the key of the result that counts; of an earlier version's job the key of then."""
    return job.result_key or f"results/{job.job_id}.{_suffix(job)}"


def result_folder(job_id: str) -> str:
    """Return the folder with the results of a job's claims."""
    return f"results/{job_id}"


def earlier_keys(job_id: str) -> tuple[str, ...]:
    """Return the keys under which earlier versions stored a result."""
    return f"results/{job_id}.xlsx", f"results/{job_id}.txt"


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


def _suffix(job: Job) -> str:
    return "txt" if job.kind is Kind.FACTORIAL else "xlsx"


def _is_name(part: str) -> bool:
    return (
        bool(part)
        and not part.startswith(".")
        and len(part.encode(errors="surrogatepass")) <= _MAX_PART_BYTES
        and part.isprintable()
    )
