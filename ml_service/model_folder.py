"""The folder of one published model: what is in it, loading from it, and choices kept in it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aimq import published
from aimq.errors import AimqError, InternalError, ModelRefused, NotFound
from aimq.http.threads import ThreadPool
from aimq.published import MODEL_NAME
from ml_service import canary
from ml_service.canary import Canary
from ml_service.loading import load_version
from ml_service.overview import Overview, read_overview
from ml_service.runtimes.port import ModelRuntime
from ml_service.version import Version

logger = logging.getLogger(__name__)

#: Name of a version and time of its manifest: changes with each publication.
Mark = tuple[str, int]


class Snapshot(NamedTuple):
    """What the folder says at one time.

    Attributes:
        mark: of the version to serve.
        canary: None if there is none beside that version.
    """

    mark: Mark
    canary: Canary | None


def model_names(models_dir: Path) -> set[str]:
    """Return the folders that may be models. Blocks."""
    try:
        with os.scandir(models_dir) as entries:
            return {e.name for e in entries if MODEL_NAME.fullmatch(e.name) and e.is_dir()}
    except FileNotFoundError:
        return set()


class ModelFolder:
    """One model's folder. Belongs to one event loop; what is no coroutine blocks.

    Args:
        models_dir: folder of the published models.
        name: of the model, checked against what is published.
        runtimes: format to the runtime that executes it.
        threads: where versions are loaded.

    Attributes:
        refused: versions that were refused, and why.
        error: why the last loading failed; None if it did not.
    """

    def __init__(
        self, models_dir: Path, name: str, runtimes: dict[str, ModelRuntime], threads: ThreadPool
    ) -> None:
        self.name = name
        self.refused: dict[str, str] = {}
        self.error: str | None = None
        self._dir = models_dir
        self._home = models_dir / name
        self._runtimes = runtimes
        self._threads = threads

    def published(self) -> list[str]:
        """Return the published versions, oldest first."""
        return published.versions(self._dir, self.name)

    def current(self) -> str:
        """Return the version to serve. Raises `NotFound` when nothing is published."""
        return published.current_version(self._dir, self.name)

    def mark(self, version: str) -> Mark:
        """Return the mark of a version. Raises `NotFound`, which lists what is published."""
        available = self.published()
        if version not in available:
            listed = ", ".join(available) or "none"
            raise NotFound(f"No version {version[:80]!a} is published; there are: {listed}.")
        return self._mark(version)

    def snapshot(self) -> Snapshot:
        """Return what the folder says. Raises `NotFound` when nothing is published."""
        asked = canary.read(self._home)  # before `current`, which a canary is written after
        version = self.current()
        return Snapshot(self._mark(version), asked if asked and asked.beside == version else None)

    def _mark(self, version: str) -> Mark:
        try:
            return version, (self._home / version / published.MANIFEST).stat().st_mtime_ns
        except OSError:  # deleted a moment ago; loading it says so
            return version, 0

    async def load(self, version: str, *, whole: bool) -> Version:
        """Load a published version; see `load_version`. A refusal is noted."""
        try:
            loaded = await self._threads.run(
                load_version, self._dir, self.name, version, self._runtimes, whole=whole
            )
        except Exception as exc:
            self._note(version, exc if isinstance(exc, AimqError) else InternalError(repr(exc)))
            raise
        self.refused.pop(version, None)
        self.error = None
        return loaded

    async def load_first(self, version: str) -> Version:
        """Load the version to start with.

        An older one that is whole is better than a newer one with a refused group: replicas that
        run already stay with the older one.
        """
        older = [each for each in await asyncio.to_thread(self.published) if each < version]
        for candidate in (version, *reversed(older)):
            with contextlib.suppress(ModelRefused):
                return await self.load(candidate, whole=True)
        return await self.load(version, whole=False)

    def note_nothing(self) -> None:
        """Take note that nothing is published."""
        error = published.nothing(self._dir, self.name)
        if self.error != error:
            logger.warning("waiting: %s", error)
        self.error = error

    def _note(self, version: str, exc: AimqError) -> None:
        if not exc.retryable:
            self.refused[version] = exc.detail
        logger.error("version %s of %s is not served: %s", version, self.name, exc.detail)
        self.error = f"Version {version} cannot be served: {exc.detail}"

    def read_overview(self, version: str) -> Overview:
        """Return what is known of a version without loading it. Raises `ModelRefused`."""
        return read_overview(self._home / version)

    def read_report(self, overview: Overview) -> bytes:
        """Return the report of a version, in HTML. Raises `NotFound` without the published one."""
        version = overview.manifest.version
        try:
            return published.verified(
                self._home / version, overview.manifest, published.REPORT
            ).read_bytes()
        except (ModelRefused, OSError) as exc:
            raise NotFound(f"Version {version} of {self.name} has no report.") from exc

    def keep_current(self, version: str) -> None:
        """Make a version the one to serve, in one step; a canary beside another one ends."""
        if self.current() != version:
            self.keep_canary(None)
        path = self._home / published.CURRENT
        self._keep(lambda: canary.replace_file(path, f"{version}\n".encode()))

    def keep_canary(self, asked: Canary | None) -> None:
        """Write the canary's file, or remove it."""
        self._keep(lambda: canary.write(self._home, asked))

    def _keep(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as exc:  # a read-only models folder: the choice holds for this process
            logger.warning("the choice of a version of %s cannot be kept: %s", self.name, exc)
