"""One published model: which version is served, its canary, loading and switching."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aimq import published
from aimq.errors import AimqError, Conflict, InternalError, ModelRefused, NotFound, TransientError
from ml_service import canary
from ml_service.canary import Canary
from ml_service.loading import load_version
from ml_service.overview import REPORT, Overview, overview_of, read_overview
from ml_service.runtimes.port import ModelRuntime
from ml_service.snapshot import Mark, Snapshot, mark_of, take_snapshot
from ml_service.version import ONNX, Version

logger = logging.getLogger(__name__)

#: Seconds after which a version that a runtime could not take is tried again.
RETRY_SECONDS: Final = 5.0
#: Seconds a client is asked to wait while no version is served.
WAIT_SECONDS: Final = 1.0
_LOADING: Final = "The models are being loaded."
#: Memory of a loaded ONNX model by the size of its file. Measured: see `Deployment.memory`.
MEMORY_FACTOR: Final = 3.0

_uses = itertools.count(1)


class NotServing(TransientError):
    """No version is served yet."""

    title = "No model is served"


@dataclass(frozen=True, slots=True)
class _LoadedCanary:
    asked: Canary
    version: Version


class Deployment:
    """One model in service. Belongs to one event loop; loading runs in a thread.

    Args:
        models_dir: folder of the published models.
        name: of the model, checked against what is published.
        runtimes: format to the runtime that executes it.
        on_load: called with the deployment each time that a version was loaded.
        on_demand: loaded by `ready` only; else as soon as it is published.
        draw: returns a random number of [0, 1) for each single record.

    Attributes:
        error: why no version is served, or none but an older one.
        used: rank of the last `ready` among those of all deployments.
    """

    def __init__(
        self,
        models_dir: Path,
        name: str,
        runtimes: dict[str, ModelRuntime],
        on_load: Callable[[Deployment], None],
        *,
        on_demand: bool = True,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.error: str | None = None
        self.used = 0
        self._dir = models_dir
        self._home = models_dir / name
        self._runtimes = runtimes
        self._on_load = on_load
        self._on_demand = on_demand
        self._draw = draw
        self._clock = clock
        self._current: Version | None = None
        self._served: Mark | None = None
        self._canary: _LoadedCanary | None = None
        self._latest: Snapshot | None = None
        self._seen: Mark | None = None
        self._seen_canary: Canary | None = None
        self._retry_at = float("-inf")
        self._refused: dict[str, str] = {}
        self._overview: tuple[Mark, Overview] | None = None
        self._switching = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None

    @property
    def current(self) -> Version:
        """The version in service.

        Raises:
            NotServing: there is none; says why.
        """
        if self._current is None:
            raise NotServing(self.error or _LOADING, retry_after=WAIT_SECONDS)
        return self._current

    def choose(self) -> Version:
        """Return the version for a single record: the current one, or by its share the canary.

        Raises:
            NotServing: see `current`.
        """
        loaded = self._canary
        if loaded is not None and loaded.asked.takes(self._draw()):
            return loaded.version
        return self.current

    def peek(self) -> Version | None:
        """Return the version in service, or None."""
        return self._current

    @property
    def canary(self) -> Canary | None:
        """The canary in service."""
        return self._canary.asked if self._canary else None

    @property
    def is_published(self) -> bool:
        """True if the folder had a version of it at the last look."""
        return self._latest is not None

    @property
    def refused(self) -> dict[str, str]:
        """Versions that were refused, and why."""
        return dict(self._refused)

    @property
    def busy(self) -> bool:
        """True while a version is being loaded."""
        return self._switching.locked() or not (self._following is None or self._following.done())

    @property
    def is_due(self) -> bool:
        """True if the folder says something that was neither done nor refused yet."""
        if self._latest is None or self._clock() < self._retry_at:
            return False
        mark, asked = self._latest
        return mark not in {self._seen, self._served} or asked != self._seen_canary

    @property
    def memory(self) -> int:
        """Estimate of the memory of what is loaded.

        `MEMORY_FACTOR` times the ONNX files. Pickles are loaded from disk for each request.
        """
        loaded = (self._current, self._canary.version if self._canary else None)
        models = (model for v in loaded if v for model in v.models[ONNX].values())
        return int(MEMORY_FACTOR * sum(model.bytes for model in models))

    def published(self) -> list[str]:
        """Return the published versions, oldest first. Blocks for a listing."""
        return published.versions(self._dir, self.name)

    async def overview(self) -> Overview:
        """Return what is known of the version in service, else of the one to be loaded.

        Raises:
            NotServing: it cannot be read; says why.
        """
        if self._current is not None:
            return overview_of(self._current)
        if self._latest is None:
            raise NotServing(self.error or _LOADING, retry_after=WAIT_SECONDS)
        mark = self._latest.mark
        if self._overview is None or self._overview[0] != mark:
            try:
                found = await asyncio.to_thread(read_overview, self._home / mark[0])
            except ModelRefused as exc:
                raise NotServing(exc.detail, retry_after=WAIT_SECONDS) from exc
            self._overview = mark, found
        return self._overview[1]

    async def report(self) -> bytes:
        """Return the report of the version that `overview` describes, in HTML.

        Raises:
            NotFound: it has none, or not the one that was published.
            NotServing: see `overview`.
        """
        manifest = (await self.overview()).manifest
        folder = self._home / manifest.version
        try:
            path = await asyncio.to_thread(published.verified, folder, manifest, REPORT)
            return await asyncio.to_thread(path.read_bytes)
        except (ModelRefused, OSError) as exc:
            raise NotFound(f"Version {manifest.version} of {self.name} has no report.") from exc

    async def ready(self) -> None:
        """Return once a version is loaded; one loading serves all that wait.

        Raises:
            NotServing: it cannot be loaded; says why.
        """
        self.used = next(_uses)
        if self._current is None and self._on_demand and (self.busy or self.is_due):
            await asyncio.shield(self.follow())
        _ = self.current

    def notice(self, snapshot: Snapshot | None) -> None:
        """Take note of what the folder says now; None: nothing is published."""
        self._latest = snapshot
        if snapshot is None:
            self._note_nothing_published(published.nothing(self._dir, self.name))
        elif self.is_due and (self._current is not None or not self._on_demand):
            self.follow()

    def follow(self) -> asyncio.Task[None]:
        """Serve what is published, in a task, unless it is served already or was refused."""
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow())
        return self._following

    def unload(self) -> None:
        """Forget what is loaded; requests under way keep what they began with."""
        self._current = self._canary = None
        self._served = self._seen = self._seen_canary = None
        logger.info("model %s is unloaded", self.name)

    async def stop(self) -> None:
        """End the task that loads. What runs in a thread ends by itself."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def reload(self, version: str | None = None) -> Version:
        """Load the published version, or the one that is named, and switch to it.

        The old version serves until the new one has answered its warm-up. A whole version never
        gives way to one with a refused group. A named version is remembered: it stays the current
        one after a restart and until another is published.

        Raises:
            NotFound: nothing is published, or not this version; lists what is.
            ModelRefused: it cannot be served; the old version stays.
            TransientError: a runtime cannot be reached; the old version stays.
        """
        async with self._switching:
            chosen = version
            if chosen is None:
                chosen = published.current_version(self._dir, self.name)
            self._check_published(chosen)
            loaded = await self._switch(chosen, named=version is not None)
            if version is not None:
                await asyncio.to_thread(self._persist, version)
            snapshot = await asyncio.to_thread(take_snapshot, self._dir, self.name)
            self._latest, self._seen = snapshot, snapshot.mark
            if snapshot.canary is None:
                self._canary = self._seen_canary = None
            return loaded

    async def roll_back(self) -> Version:
        """Switch to the newest version that is older than the current one; see `reload`.

        Raises:
            Conflict: there is none.
        """
        current = self._current.name if self._current else None
        current = current or published.current_version(self._dir, self.name)
        older = [version for version in self.published() if version < current]
        if not older:
            raise Conflict(f"{current} is the oldest version of {self.name}: train another first.")
        return await self.reload(older[-1])

    async def set_canary(self, version: str, percent: int) -> None:
        """Let a version answer a share of the single records, beside the current one.

        Args:
            percent: 1 to 100.

        Raises:
            NotFound: the version is not published; lists what is.
            Conflict: it is the current one.
            ModelRefused: it cannot be served; nothing changes.
            TransientError: no version is served, or a runtime cannot be reached.
        """
        await self.ready()
        async with self._switching:
            self._check_published(version)
            beside = published.current_version(self._dir, self.name)
            if version in {beside, self.current.name}:
                raise Conflict(f"{version} is the current version of {self.name} already.")
            asked = Canary(version=version, percent=percent, beside=beside)
            await self._load_canary(asked)
            await asyncio.to_thread(self._persisted, lambda: canary.write(self._home, asked))
            self._latest = await asyncio.to_thread(take_snapshot, self._dir, self.name)
            self._seen_canary = self._latest.canary

    async def end_canary(self) -> None:
        """Let the current version answer everything again."""
        async with self._switching:
            await asyncio.to_thread(self._persisted, lambda: canary.remove(self._home))
            self._latest = await asyncio.to_thread(take_snapshot, self._dir, self.name)
            self._canary, self._seen_canary = None, self._latest.canary

    def _check_published(self, version: str) -> None:
        available = self.published()
        if version not in available:
            listed = ", ".join(available) or "none"
            raise NotFound(f"No version {version!r} is published; there are: {listed}.")

    async def _follow(self) -> None:
        try:
            async with self._switching:
                snapshot = await asyncio.to_thread(take_snapshot, self._dir, self.name)
                self._latest = snapshot
                if snapshot.mark not in {self._seen, self._served}:
                    self._seen = snapshot.mark
                    await self._switch(snapshot.mark[0], named=False)
                if snapshot.canary != self._seen_canary:
                    await self._follow_canary(snapshot.canary)
        except NotFound as exc:
            self._note_nothing_published(exc.detail)
        except TransientError:
            self._seen = self._seen_canary = None
            self._retry_at = self._clock() + RETRY_SECONDS
        except ModelRefused:
            pass  # noted and logged; tried again when another is published
        except Exception:
            logger.exception("loading model %s failed", self.name)

    async def _follow_canary(self, asked: Canary | None) -> None:
        self._seen_canary = asked
        if asked is None or self._current is None:
            self._canary = None
            return
        try:
            await self._load_canary(asked)
        except AimqError:
            self._canary = None  # the current version answers everything
            raise

    async def _switch(self, chosen: str, *, named: bool) -> Version:
        """Load a version and serve it.

        Args:
            named: serve no other in its place.
        """
        mark = mark_of(self._dir, self.name, chosen)
        if self._current is None and not named:
            loaded = await self._load_first(chosen)
        else:
            whole = self._current is not None and not self._current.refused
            loaded = await self._load(chosen, whole=whole)
        self._current, self._served, self.error = loaded, mark, None
        groups = ", ".join(loaded.models[ONNX])
        logger.info("version %s of %s is served, groups %s", loaded.name, self.name, groups)
        self._on_load(self)
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

    async def _load_canary(self, asked: Canary) -> None:
        self._check_published(asked.version)
        loaded = self._canary
        if loaded is not None and loaded.version.name == asked.version:
            version = loaded.version
        else:
            version = await self._load(asked.version, whole=True)
        self._canary, self._seen_canary = _LoadedCanary(asked, version), asked
        logger.info("%d %% of %s go to version %s", asked.percent, self.name, asked.version)
        self._on_load(self)

    async def _load(self, version: str, *, whole: bool) -> Version:
        try:
            loaded = await asyncio.to_thread(
                load_version, self._dir, self.name, version, self._runtimes, whole=whole
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
        self.error = f"Version {version} cannot be served: {exc.detail}"

    def _note_nothing_published(self, error: str) -> None:
        if self._current is None and self.error != error:
            logger.warning("waiting: %s", error)
        self.error, self._seen = error, None

    def _persist(self, version: str) -> None:
        """Make a version the current one on disk; a canary beside another one ends."""

        def write() -> None:
            if published.current_version(self._dir, self.name) != version:
                canary.remove(self._home)
            canary.replace_file(self._home / published.CURRENT, f"{version}\n".encode())

        self._persisted(write)

    def _persisted(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as exc:  # a read-only models folder: the choice holds for this process
            logger.warning("the choice of a version of %s cannot be kept: %s", self.name, exc)
