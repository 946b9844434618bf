"""Publishing a version: whole or not at all.

Files are staged in a dot-folder beside the versions, flushed to the disk, and described by the
manifest, written last; then the folder gets its version for a name and ``current`` is replaced,
each in one step of the file system. Killed before the last step, the earlier version stays in
service.

A folder lock (``flock``) shows that a staging folder's owner lives: the next run deletes those of
the dead. Another lock makes versions and ``current`` move forward one publisher at a time.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from aimq.errors import FilesUnavailable, Invalid
from aimq.published import CURRENT, MANIFEST, Manifest, sha256, versions
from aimq.schema import Schema

_STAGING: Final = ".staging-"
_LOCK: Final = ".lock"
_VERSION: Final = "%Y%m%dT%H%M%SZ"
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}")


def check_names(schema: Schema) -> None:
    """Raise `Invalid` for the name of a model or a group that cannot be a file's name."""
    for name in (schema.name, *schema.groups):
        if not _FILE_NAME.fullmatch(name):
            raise Invalid(
                f"{name!r} names a model or a group: use up to 64 letters, digits, spaces, '_', "
                "'-' and '.', a letter or digit first."
            )


def draft(schema: Schema, data: str) -> Manifest:
    """Return the manifest of a version in the making; `Staging.publish` fills in the rest.

    Args:
        data: where the version comes from, in words.
    """
    return Manifest(
        name=schema.name, version="", groups=list(schema.groups), files={}, created_at="", data=data
    )


class Staging:
    """A version in the making. Use through `stage`; not thread-safe."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, content: bytes) -> int:
        """Write a file of the version durably; returns its size in bytes."""
        with _mapped(self.folder):
            _write(self.folder / name, content)
        return len(content)

    def write_json(self, name: str, content: object) -> int:
        """Do as `write` with indented JSON."""
        return self.write(name, msgspec.json.format(msgspec.json.encode(content)))

    def publish(self, manifest: Manifest, now: datetime, keep: int = 5) -> Manifest:
        """Put the staged files into service, and delete versions that are too old.

        Args:
            manifest: its ``version``, ``files`` and ``created_at`` are filled in here.
            now: UTC; the version is named for it, or for the next second that is later than every
                version there.
            keep: versions that stay, this one included. A service has read what it serves by then,
                unless it was not told of so many versions in a row.

        Raises:
            FilesUnavailable: the disk refuses; the earlier version stays in service.
        """
        home = self.folder.parent
        files = {path.name: sha256(path) for path in sorted(self.folder.iterdir())}
        with _mapped(home), _locked(home / _LOCK):
            version = _next_version(home, now)
            complete = msgspec.structs.replace(
                manifest, version=version, files=files, created_at=now.isoformat(timespec="seconds")
            )
            _write(self.folder / MANIFEST, msgspec.json.format(msgspec.json.encode(complete)))
            _sync(self.folder)
            self.folder.rename(home / version)
            _sync(home)
            _write(home / f".{CURRENT}", f"{version}\n".encode())
            (home / f".{CURRENT}").replace(home / CURRENT)
            _sync(home)
            with suppress(OSError):  # it is published; the next one tries again
                _prune(home, keep)
        return complete


@contextmanager
def stage(models_dir: Path, name: str) -> Iterator[Staging]:
    """Give a staging folder, deleted at the end unless it was published.

    Raises:
        FilesUnavailable: the folder of the models cannot be written.
    """
    home = models_dir / name
    with _mapped(home):
        home.mkdir(parents=True, exist_ok=True)
        with _locked(home / _LOCK):
            _delete_stale(home)
            folder = home / f"{_STAGING}{secrets.token_hex(8)}"
            folder.mkdir()
            alive = os.open(folder, os.O_RDONLY)
            fcntl.flock(alive, fcntl.LOCK_EX)
    try:
        yield Staging(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(alive)


def _delete_stale(home: Path) -> None:
    """Delete staging folders whose owner is dead."""
    for folder in home.glob(f"{_STAGING}*"):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(folder)
        finally:
            os.close(descriptor)


def _prune(home: Path, keep: int) -> None:
    """Delete all versions but the newest ones. Each is gone at once for those who look for it."""
    for version in versions(home.parent, home.name)[:-keep]:
        gone = home / f"{_STAGING}{version}"  # a name that the next run deletes if we die here
        (home / version).rename(gone)
        shutil.rmtree(gone)


def _next_version(home: Path, now: datetime) -> str:
    moment = now.astimezone(UTC)
    published = versions(home.parent, home.name)
    if published:
        with suppress(ValueError):
            latest = datetime.strptime(published[-1], _VERSION).replace(tzinfo=UTC)
            moment = max(moment, latest + timedelta(seconds=1))
    return moment.strftime(_VERSION)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file for the length of a ``with`` block; freed by the system if we die."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _mapped(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise FilesUnavailable(
            f"{where}: cannot be written: {exc.strerror or exc}. Nothing is published."
        ) from exc


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Flush a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
