"""Which version is served: loading, choosing, watching and switching."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from aimq import published
from aimq.errors import AimqError, InternalError, ModelRefused, NotFound, TransientError
from aimq.freeze_gc import freeze_gc
from ml_service.loading import load_version
from ml_service.runtimes.port import ModelRuntime
from ml_service.version import ONNX, Version

logger = logging.getLogger(__name__)

#: Name of the version to serve and time of its manifest: changes with each publication.
_Mark = tuple[str, int]

#: Seconds between two looks at the models folder: one small file and one directory listing.
WATCH_SECONDS: Final = 1.0
#: Seconds after which a version that a runtime could not take is tried again.
RETRY_SECONDS: Final = 5.0


class NotServing(TransientError):
    """No version is served yet."""

    title = "No model is served"


class Catalogue:
    """Holds the version in service. Belongs to one event loop; loading runs in a thread.

    Args:
        models_dir: folder of the published models.
        name: which model is served.
        runtimes: format to the runtime that executes it; closed with the catalogue.
    """

    def __init__(self, models_dir: Path, name: str, runtimes: dict[str, ModelRuntime]) -> None:
        self._dir = models_dir
        self._name = name
        self._runtimes = runtimes
        self._current: Version | None = None
        self._served: _Mark | None = None
        self._why_not = "The models are being loaded."
        self._refused: dict[str, str] = {}
        self._switching = asyncio.Lock()

    @property
    def current(self) -> Version:
        """The version in service.

        Raises:
            NotServing: there is none; says why.
        """
        if self._current is None:
            raise NotServing(self._why_not, retry_after=WATCH_SECONDS)
        return self._current

    def peek(self) -> Version | None:
        """Return the version in service, or None."""
        return self._current

    @property
    def refused(self) -> dict[str, str]:
        """Versions that were refused, and why."""
        return dict(self._refused)

    def published(self) -> list[str]:
        """Return the published versions, oldest first."""
        return published.versions(self._dir, self._name)

    async def check(self) -> None:
        """Raise `NotServing` unless a version is loaded and warm."""
        _ = self.current

    async def reload(self, version: str | None = None) -> Version:
        """Load the current version, or the one that is named, and switch to it.

        The old version serves until the new one has answered its warm-up. A whole version never
        gives way to one with a refused group. A named version is remembered: it stays the current
        one after a restart and until another is published.

        Raises:
            NotFound: nothing is published, or not this version; lists what is.
            ModelRefused: it cannot be served; the old version stays.
            TransientError: a runtime cannot be reached; the old version stays.
        """
        async with self._switching:
            chosen = (
                published.current_version(self._dir, self._name) if version is None else version
            )
            available = self.published()
            if chosen not in available:
                listed = ", ".join(available) or "none"
                raise NotFound(f"No version {chosen!r} is published; there are: {listed}.")
            mark = self._mark_of(chosen)
            if self._current is None and version is None:
                loaded = await self._load_first(chosen)
            else:
                whole = self._current is not None and not self._current.refused
                loaded = await self._load(chosen, whole=whole)
            self._switch(loaded, mark)
            if version is not None:
                await asyncio.to_thread(self._persist, version)
            return loaded

    async def _load_first(self, chosen: str) -> Version:
        """Load the version to start with.

        An older one that is whole is better than a newer one with a refused group: replicas that
        run already stay with the older one.
        """
        older = [version for version in self.published() if version < chosen]
        for candidate in (chosen, *reversed(older)):
            with contextlib.suppress(ModelRefused):
                return await self._load(candidate, whole=True)
        return await self._load(chosen, whole=False)

    async def _load(self, version: str, *, whole: bool) -> Version:
        try:
            loaded = await asyncio.to_thread(
                load_version, self._dir, self._name, version, self._runtimes, whole=whole
            )
        except Exception as exc:
            self._note_refusal(
                version, exc if isinstance(exc, AimqError) else InternalError(repr(exc))
            )
            raise
        self._refused.pop(version, None)
        return loaded

    def _note_refusal(self, version: str, exc: AimqError) -> None:
        if not exc.retryable:
            self._refused[version] = exc.detail
        stays = f"; {self._current.name} stays" if self._current else ""
        logger.error("version %s is not served: %s%s", version, exc.detail, stays)
        self._why_not = f"Version {version} cannot be served: {exc.detail}"

    def _persist(self, version: str) -> None:
        path = self._dir / self._name / published.CURRENT
        beside = path.with_name(f".{published.CURRENT}.{os.getpid()}")
        try:
            beside.write_text(version + "\n", encoding="utf-8")
            beside.replace(path)
        except OSError as exc:  # a read-only models folder: the choice holds for this process
            logger.warning("the choice of version %s cannot be kept: %s", version, exc)

    def _switch(self, loaded: Version, mark: _Mark) -> None:
        if self._current is None:
            freeze_gc()
        self._current, self._served = loaded, mark
        logger.info("version %s is served, groups %s", loaded.name, ", ".join(loaded.models[ONNX]))

    async def _watch(self) -> None:
        """Serve what is published, and switch to what is published next, for ever."""
        seen: _Mark | None = None
        while True:
            pause = WATCH_SECONDS
            try:
                mark = await asyncio.to_thread(self._mark)
                if mark not in (seen, self._served):
                    seen = mark
                    await self.reload()
            except NotFound as exc:
                self._nothing_published(exc)
                seen = None
            except TransientError:
                pause, seen = RETRY_SECONDS, None
            except ModelRefused:
                pass  # noted and logged; tried again when another is published
            except Exception:
                logger.exception("looking at %s failed", self._dir)
            await asyncio.sleep(pause)

    def _nothing_published(self, exc: NotFound) -> None:
        if self._current is None and exc.detail != self._why_not:
            logger.warning("waiting: %s", exc.detail)
        self._why_not = exc.detail

    def _mark(self) -> _Mark:
        return self._mark_of(published.current_version(self._dir, self._name))

    def _mark_of(self, version: str) -> _Mark:
        path = self._dir / self._name / version / published.MANIFEST
        try:
            return version, path.stat().st_mtime_ns
        except OSError:  # deleted a moment ago; loading it says so
            return version, 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch while the block runs; then close the runtimes."""
        task = asyncio.get_running_loop().create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for runtime in self._runtimes.values():
            runtime.close()
