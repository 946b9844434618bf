"""Library and operating system errors, mapped to ours at the file store's edge."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aimq.errors import AimqError, FilesUnavailable, NotFound

_ADVICE: Final = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "raise the quota or free some space there",
    errno.EACCES: "give this user the right to read and write there",
    errno.EPERM: "give this user the right to read and write there",
    errno.EROFS: "mount it writable, or set AIMQ_FILES_URL to another place",
}
_ELSEWHERE: Final = "check AIMQ_FILES_URL and that it can be reached"
_MISSING: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@contextmanager
def writing(root: str, done: str = "written") -> Iterator[None]:
    """Map whatever goes wrong inside to `FilesUnavailable`; `AimqError`s pass."""
    try:
        yield
    except AimqError:
        raise
    except Exception as exc:
        # fsspec's file systems raise errors of the many libraries below them
        raise unavailable(done, root, exc) from exc


@contextmanager
def reading(root: str, key: str) -> Iterator[None]:
    """Map a missing file to `NotFound` and the rest to `FilesUnavailable`; `AimqError`s pass."""
    try:
        yield
    except AimqError:
        raise
    except _MISSING as exc:
        raise NotFound(f"There is no file {key}.") from exc
    except Exception as exc:
        # fsspec's file systems raise errors of the many libraries below them
        raise unavailable("read", root, exc) from exc


def unavailable(done: str, root: str, exc: BaseException) -> FilesUnavailable:
    """Return the one-line error for files under `root` that could not be read or written."""
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    line = " ".join(reason.split())[:200] or type(exc).__name__
    number = exc.errno if isinstance(exc, OSError) else None
    advice = _ADVICE.get(number or 0, _ELSEWHERE)
    if isinstance(exc, PermissionError):
        advice = _ADVICE[errno.EACCES]
    return FilesUnavailable(f"Files cannot be {done} at {root}: {line}; {advice}.")
