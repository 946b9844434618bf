"""One published model: which version is served, its canary, loading and switching."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from aimq.errors import Conflict, ModelRefused, NotFound, Overloaded, TransientError
from ml_service.canary import Canary
from ml_service.model_folder import Mark, ModelFolder, Snapshot
from ml_service.overview import Overview
from ml_service.version import ONNX, Version

logger = logging.getLogger(__name__)

#: Seconds after which a version that a runtime could not take is tried again.
RETRY_SECONDS: Final = 5.0
#: Seconds a client is asked to wait while no version is served.
WAIT_SECONDS: Final = 1.0
#: Requests that wait for one loading, at most.
MOST_WAITING: Final = 256
#: Memory of a loaded ONNX model by the size of its file. Measured: 6 for forests, 8.4 for boosters.
MEMORY_FACTOR: Final = 8

_uses = itertools.count(1)


class NotServing(TransientError):
    """No version is served yet."""

    title = "No model is served"

    def __init__(self, detail: str | None) -> None:
        super().__init__(detail or "The models are being loaded.", retry_after=WAIT_SECONDS)


class _LoadedCanary(NamedTuple):
    asked: Canary
    version: Version


class Deployment:
    """One model in service. Belongs to one event loop; loading runs in a thread.

    Args:
        folder: of the model. Its `error` says why no version is served, or not the one it names.
        on_load: called with the deployment each time that a version was loaded.
        on_demand: loaded by `ready` only; else as soon as it is published.
        draw: returns a random number of [0, 1) for each single record.
        clock: seconds, monotonic.

    Attributes:
        used: rank of the last `ready` among those of all deployments.
    """

    def __init__(
        self,
        folder: ModelFolder,
        on_load: Callable[[Deployment], None],
        *,
        on_demand: bool = True,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.name = folder.name
        self.used = 0
        self._on_load = on_load
        self._on_demand = on_demand
        self._draw = draw
        self._clock = clock
        self._current: Version | None = None
        self._canary: _LoadedCanary | None = None
        self._latest: Snapshot | None = None
        self._served: Mark | None = None
        self._seen: Mark | None = None
        self._seen_canary: Canary | None = None
        self._retry_at = float("-inf")
        self._waiting = 0
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
            raise NotServing(self.folder.error)
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

    def served(self, version: str | None) -> Version:
        """Return the current version, or the one that is named: the current one or the canary.

        Raises:
            NotFound: neither is it.
            NotServing: see `current`.
        """
        _ = self.current
        for each in self.loaded():
            if version in {None, each.name}:
                return each
        served = " and ".join(repr(each.name) for each in self.loaded())
        raise NotFound(
            f"Version {str(version)[:80]!a} of {self.name!r} is not served: {served} is."
        )

    def loaded(self) -> list[Version]:
        """Return the versions in service: the current one, then the canary."""
        found = (self._current, self._canary.version if self._canary else None)
        return [version for version in found if version is not None]

    def peek(self) -> Version | None:
        """Return the version in service, or None."""
        return self._current

    @property
    def canary(self) -> Canary | None:
        """The canary in service."""
        return self._canary.asked if self._canary else None

    @property
    def is_published(self) -> bool:
        """True if the folder had a version at the last look, or one is still served."""
        return self._latest is not None or self._current is not None

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
        """Bytes that what is loaded takes, by estimate: `MEMORY_FACTOR` times its ONNX files.

        Pickles are loaded from disk for each request.
        """
        loaded = (self._current, self._canary and self._canary.version)
        models = (model for v in loaded if v for model in v.models[ONNX].values())
        return MEMORY_FACTOR * sum(model.bytes for model in models)

    async def overview(self) -> Overview:
        """Return what is known of the version in service, else of the one to be loaded.

        Raises:
            NotServing: it cannot be read; says why.
        """
        if (version := self._current) is not None:
            return Overview(version.manifest, version.schema, version.metrics)
        if self._latest is None:
            raise NotServing(self.folder.error)
        mark = self._latest.mark
        if self._overview is None or self._overview[0] != mark:
            try:
                found = await asyncio.to_thread(self.folder.read_overview, mark[0])
            except ModelRefused as exc:
                raise NotServing(exc.detail) from exc
            self._overview = mark, found
        return self._overview[1]

    async def ready(self) -> None:
        """Return once a version is loaded; one loading serves all that wait.

        Raises:
            NotServing: it cannot be loaded; says why.
            Overloaded: `MOST_WAITING` requests wait already.
        """
        self.used = next(_uses)
        while self._current is None and self._on_demand and (self.busy or self.is_due):
            if self._waiting >= MOST_WAITING:
                raise Overloaded(f"Too many requests wait for {self.name} to be loaded.")
            self._waiting += 1
            try:
                await asyncio.shield(self.follow())
            finally:
                self._waiting -= 1
        _ = self.current

    def notice(self, snapshot: Snapshot | None) -> None:
        """Take note of what the folder says now; None: nothing is published."""
        self._latest = snapshot
        if snapshot is None:
            self._seen = None
            self.folder.note_nothing()
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
                chosen = await asyncio.to_thread(self.folder.current)
            mark = await asyncio.to_thread(self.folder.mark, chosen)
            loaded = await self._switch(mark, named=version is not None)
            if version is not None:
                await asyncio.to_thread(self.folder.keep_current, version)
            snapshot = await self._look()
            self._seen = snapshot.mark
            if snapshot.canary is None:
                self._canary = self._seen_canary = None
            return loaded

    async def roll_back(self) -> Version:
        """Switch to the newest version that is older than the current one; see `reload`.

        Raises:
            Conflict: there is none.
        """
        available = await asyncio.to_thread(self.folder.published)
        if self._current is None:
            current = await asyncio.to_thread(self.folder.current)
        else:
            current = self._current.name
        older = [version for version in available if version < current]
        if not older:
            raise Conflict(f"No version of {self.name} is older than {current}, the current one.")
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
            beside = await asyncio.to_thread(self.folder.current)
            if version in {beside, self.current.name}:
                raise Conflict(f"{version} is the current version of {self.name} already.")
            asked = Canary(version=version, percent=percent, beside=beside)
            self._set_canary(await self._canary_of(asked))
            await asyncio.to_thread(self.folder.keep_canary, asked)
            self._seen_canary = (await self._look()).canary

    async def end_canary(self) -> None:
        """Let the current version answer everything again."""
        async with self._switching:
            await asyncio.to_thread(self.folder.keep_canary, None)
            self._canary, self._seen_canary = None, (await self._look()).canary

    async def _look(self) -> Snapshot:
        self._latest = await asyncio.to_thread(self.folder.snapshot)
        return self._latest

    async def _follow(self) -> None:
        try:
            async with self._switching:
                snapshot = await self._look()
                if snapshot.mark not in {self._seen, self._served}:
                    self._seen = snapshot.mark
                    await self._switch(snapshot.mark, named=False)
                if snapshot.canary != self._seen_canary:
                    await self._follow_canary(snapshot.canary)
        except NotFound as exc:
            logger.warning("%s: %s", self.name, exc.detail)  # a deleted version; looked at again
        except TransientError:
            self._seen = self._seen_canary = None
            self._retry_at = self._clock() + RETRY_SECONDS
        except ModelRefused:
            pass  # noted and logged; tried again when another is published
        except Exception:
            logger.exception("loading model %s failed", self.name)

    async def _switch(self, mark: Mark, *, named: bool) -> Version:
        """Load a version and serve it.

        Args:
            named: serve no other in its place.
        """
        if self._current is None and not named:
            loaded = await self.folder.load_first(mark[0])
        else:
            whole = self._current is not None and not self._current.refused
            loaded = await self.folder.load(mark[0], whole=whole)
        self._current, self._served = loaded, mark
        groups = ", ".join(loaded.models[ONNX])
        logger.info("version %s of %s is served, groups %s", loaded.name, self.name, groups)
        self._on_load(self)
        return loaded

    async def _follow_canary(self, asked: Canary | None) -> None:
        self._seen_canary, loaded = asked, None
        try:
            loaded = await self._canary_of(asked) if asked else None
        finally:
            self._set_canary(loaded)  # without one the current version answers everything

    async def _canary_of(self, asked: Canary) -> _LoadedCanary:
        await asyncio.to_thread(self.folder.mark, asked.version)
        before = self._canary
        if before is not None and before.version.name == asked.version:
            return _LoadedCanary(asked, before.version)
        version = await self.folder.load(asked.version, whole=True)
        logger.info("version %s of %s is the canary", asked.version, self.name)
        return _LoadedCanary(asked, version)

    def _set_canary(self, loaded: _LoadedCanary | None) -> None:
        self._canary = loaded
        if loaded is not None:
            self._on_load(self)
