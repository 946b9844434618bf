"""Errors of libraries and of the operating system as ours, at the file store's edge."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aimq.errors import AimqError, FilesUnavailable, NotFound

_RIGHTS: Final = "give this user the right to read and write there"
_ADVICE: Final = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "raise the quota or free some space there",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "mount it writable, or set AIMQ_FILES_URL to another place",
}
_ELSEWHERE: Final = "check AIMQ_FILES_URL and that it can be reached"
_MISSING: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@contextmanager
def mapped(done: str, root: str, key: str = "") -> Iterator[None]:
    """Map what goes wrong inside to `FilesUnavailable`; `AimqError`s pass.

    Args:
        done: what cannot be done then: "read", "written" or "listed".
        root: the store, as messages name it.
        key: of the file to be read: `NotFound` if it is missing.
    """
    try:
        yield
    except AimqError:
        raise
    except Exception as exc:  # fsspec's file systems raise errors of many libraries
        if key and isinstance(exc, _MISSING):
            raise NotFound(f"There is no file {key}.") from exc
        raise FilesUnavailable(f"Files cannot be {done} at {root}: {_reason(exc)}.") from exc


def _reason(exc: Exception) -> str:
    said = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    line = " ".join(said.split())[:200] or type(exc).__name__
    number = getattr(exc, "errno", None)
    advice = _ADVICE.get(number or 0, _ELSEWHERE)
    return f"{line}; {_RIGHTS if isinstance(exc, PermissionError) else advice}"
