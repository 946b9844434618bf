"""``sqlite:///…`` URLs. Pure, but for the current folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aimq.errors import SettingsError

PREFIX: Final = "sqlite:///"


def scheme_of(url: str) -> str:
    """Return the scheme of a URL in lower case, "" when there is none."""
    scheme, separator, _ = url.partition("://")
    return scheme.strip().lower() if separator else ""


def database_path(url: str, variable: str) -> Path:
    """Return the absolute path of the database file that a URL names.

    ``sqlite:///data/aimq.db`` is relative to the current folder, ``sqlite:////var/lib/aimq.db`` is
    absolute. The path is taken as written, spaces and percent signs included.

    Args:
        url: the URL.
        variable: name of the setting, for the message.

    Raises:
        SettingsError: not of that form, or in memory only.
    """
    if not url.lower().startswith(PREFIX):
        raise SettingsError(
            f"{variable}: {url!r} is not of the form sqlite:///relative/path.db "
            "or sqlite:////absolute/path.db"
        )
    path = url[len(PREFIX) :]
    if path.strip("/") in {"", ":memory:"} or "mode=memory" in path:
        raise SettingsError(
            f"{variable}: {url!r} names no file; the queue is shared by several processes "
            "and outlives them, so it cannot be in memory: use sqlite:///data/aimq.db"
        )
    if "\0" in path or path.endswith("/"):
        raise SettingsError(f"{variable}: {url!r} names no file")
    return Path(path).absolute()
