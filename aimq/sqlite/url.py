"""``sqlite:///…`` URLs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aimq.errors import SettingsError

_PREFIX: Final = "sqlite:///"


def scheme_of(url: str) -> str:
    """Return the scheme of a URL in lower case, "" when there is none."""
    scheme, separator, _ = url.partition("://")
    return scheme.strip().lower() if separator else ""


def database_path(url: str, variable: str) -> Path:
    """Return the absolute path of the database file that a URL names, as written.

    ``sqlite:///data/aimq.db`` is relative to the current folder, ``sqlite:////var/lib/aimq.db`` is
    absolute.

    Args:
        url: the URL.
        variable: name of the setting, for the message.

    Raises:
        SettingsError: the URL is not of that form, or names no file on disk.
    """
    if not url.lower().startswith(_PREFIX):
        raise SettingsError(
            f"{variable}: {url!r} is not of the form sqlite:///relative/path.db "
            "or sqlite:////absolute/path.db"
        )
    path = url[len(_PREFIX) :]
    if path.strip("/") in {"", ":memory:"} or "mode=memory" in path:
        raise SettingsError(
            f"{variable}: {url!r} names no file; the queue is shared by several processes "
            "and outlives them, so it cannot be in memory: use sqlite:///data/aimq.db"
        )
    if "\0" in path or path.endswith("/"):
        raise SettingsError(f"{variable}: {url!r} names no file")
    return Path(path).absolute()


def ensure_folder(path: Path, variable: str, data_dir: Path) -> None:
    """Make the folder of a database file if it is the data folder and missing.

    Raises:
        SettingsError: the folder cannot be made, or another one is missing.
    """
    if path.parent == data_dir.absolute():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise SettingsError(
                f"AIMQ_DATA_DIR: {path.parent} cannot be made: {exc.strerror}"
            ) from exc
    if not path.parent.is_dir():
        raise SettingsError(f"{variable}: the folder {path.parent} does not exist; make it first")
