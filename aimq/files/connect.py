"""Chooses the FileStore adapter by URL scheme."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from aimq.errors import SettingsError
from aimq.files.local import LocalFiles
from aimq.files.port import FileStore
from aimq.settings import Settings

_LOCAL: Final = ("file", "local")
#: fsspec schemes of stores where an object appears only once it is complete.
_WHOLE_OBJECTS: Final = frozenset(
    {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci", "tos", "memory"}
)
_EXTRAS: Final = {"s3": "s3", "s3a": "s3"}


def connect_files(settings: Settings) -> FileStore:
    """Return the file store that ``AIMQ_FILES_URL`` names. Nothing is reached or written yet.

    ``file://`` takes a path as it stands: percent signs and spaces are not escapes.

    Raises:
        SettingsError: not a URL of a file system, or its library is not installed.
    """
    scheme, separator, rest = settings.files_url.partition("://")
    if not separator or not rest.strip("/"):
        raise SettingsError(
            f"AIMQ_FILES_URL: {_shown(settings.files_url)!r} is not a URL such as "
            "file:///srv/aimq/files or s3://bucket/prefix"
        )
    if scheme in _LOCAL:
        return LocalFiles(Path(rest).absolute())
    return _connect_fsspec(scheme, settings.files_url)


def _connect_fsspec(scheme: str, url: str) -> FileStore:
    # Imported here: fsspec is not needed for a local folder.
    from fsspec.core import url_to_fs  # noqa: PLC0415

    from aimq.files.objects import ObjectFiles  # noqa: PLC0415

    make = _maker(scheme, url, url_to_fs)
    try:
        root = str(make()[1])
    except ImportError as exc:
        extra = _EXTRAS.get(scheme)
        advice = f'run: pip install "aimq[{extra}]"' if extra else str(exc)
        raise SettingsError(f"AIMQ_FILES_URL: {scheme}:// needs a package; {advice}") from exc
    except Exception as exc:  # each file system checks its own URL and raises its own errors
        reason = " ".join(str(exc).split())[:200]
        raise SettingsError(f"AIMQ_FILES_URL: {_shown(url)!r} cannot be used: {reason}") from exc
    return ObjectFiles(lambda: make()[0], root, _shown(url), whole=scheme in _WHOLE_OBJECTS)


def _maker(scheme: str, url: str, url_to_fs: Callable[..., Any]) -> Callable[[], Any]:
    options: dict[str, object] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme in _EXTRAS:
        options["max_concurrency"] = 4  # parts of 50 MiB side by side: bounds the memory of a put
        options["config_kwargs"] = {"retries": {"max_attempts": 2}, "max_pool_connections": 32}
    return lambda: url_to_fs(url, **options)


def _shown(url: str) -> str:
    """Return the URL without a user name and password."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"
