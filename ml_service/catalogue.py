"""All published models: found by name, watched, and kept within a bound of memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from aimq.errors import NotFound
from aimq.freeze_gc import freeze_gc
from aimq.http.threads import ThreadPool
from ml_service.deployment import Deployment, NotServing
from ml_service.eviction import Resident, evicted
from ml_service.malloc_trim import malloc_trim
from ml_service.model_folder import ModelFolder, Snapshot, model_names
from ml_service.runtimes.port import ModelRuntime

logger = logging.getLogger(__name__)

#: Seconds between two looks at the models folder.
WATCH_SECONDS: Final = 1.0
#: Versions that are loaded side by side, on threads that nothing else waits for.
LOADERS: Final = 4


class Catalogue:
    """A deployment of each published model. Belongs to one event loop.

    The default model is loaded as soon as it is published and stays; the others are loaded when
    they are asked for. Over the bound the least recently used ones are unloaded.

    Args:
        models_dir: folder of the published models.
        name: of the default model.
        runtimes: format to the runtime that executes it; closed with the catalogue.
        memory: bound on the estimated memory of all loaded models, in bytes.

    Attributes:
        default: the default model, whether it is published or not.
    """

    def __init__(
        self, models_dir: Path, name: str, runtimes: dict[str, ModelRuntime], memory: int
    ) -> None:
        self._dir = models_dir
        self._runtimes = runtimes
        self._memory = memory
        self._threads = ThreadPool(LOADERS, "load")
        self._has_looked = False
        self._has_frozen = False
        self._has_changed = False
        self.default = Deployment(self._folder(name), self._loaded, on_demand=False)
        self._others: dict[str, Deployment] = {}

    def find(self, name: str) -> Deployment:
        """Return a published model.

        Raises:
            NotFound: there is none of this name; lists those there are.
            NotServing: the folder is being looked at for the first time.
        """
        found = self.default if name == self.default.name else self._others.get(name)
        if found is not None:
            return found
        if not self._has_looked:
            raise NotServing(None)
        listed = ", ".join(deployment.name for deployment in self.deployments()) or "none"
        raise NotFound(f"No model {name[:80]!a} is published; there are: {listed}.")

    def deployments(self) -> list[Deployment]:
        """Return the published models, the default first and the others by name."""
        others = [self._others[name] for name in sorted(self._others)]
        return [self.default, *others] if self.default.is_published else others

    async def check(self) -> None:
        """Raise `NotServing` unless a version is loaded and warm, the default's if there is one."""
        if self.default.peek() is None and (self.default.busy or not self._any_loaded()):
            errors = {name: each.folder.error for name, each in self._others.items()}
            failed = [f"{name}: {error}" for name, error in errors.items() if error]
            if failed and not self.default.is_published:
                raise NotServing("; ".join(failed))
            _ = self.default.current

    def _any_loaded(self) -> bool:
        return any(each.peek() is not None for each in self._others.values())

    def _loaded(self, loaded: Deployment) -> None:
        """Make room for what was loaded."""
        self._has_changed = True
        if not self._has_frozen:
            self._has_frozen = True
            freeze_gc()
        residents = [
            Resident(
                name=each.name,
                bytes=each.memory,
                used=each.used,
                kept=each in {self.default, loaded} or each.busy,
            )
            for each in (self.default, *self._others.values())
            if each.peek() is not None
        ]
        for name in evicted(residents, self._memory):
            self._others[name].unload()

    def _notice(self, snapshots: dict[str, Snapshot]) -> None:
        """Follow what the folder says of each model; forget those that are no longer there."""
        self._others = {
            name: self._others.get(name) or Deployment(self._folder(name), self._loaded)
            for name in snapshots
            if name != self.default.name
        }
        self._has_looked = True
        self.default.notice(snapshots.get(self.default.name))
        for name, deployment in self._others.items():
            deployment.notice(snapshots[name])
        if self.default.peek() is None and not self.default.busy and not self._any_loaded():
            self._start_one()

    def _folder(self, name: str) -> ModelFolder:
        return ModelFolder(self._dir, name, self._runtimes, self._threads)

    def _start_one(self) -> None:
        """Load another model where the default cannot be served, so that the service is ready."""
        due = next((each for each in self._others.values() if each.is_due), None)
        if due is not None and not any(each.busy for each in self._others.values()):
            due.follow()

    async def _watch(self) -> None:
        """Look at the models folder, for ever."""
        while True:
            try:
                self._notice(await asyncio.to_thread(self._look))
                if self._has_changed:
                    self._has_changed = False
                    await asyncio.to_thread(malloc_trim)
            except Exception:
                logger.exception("looking at %s failed", self._dir)
            await asyncio.sleep(WATCH_SECONDS)

    def _look(self) -> dict[str, Snapshot]:
        """Return what the folder of each published model says. Blocks."""
        snapshots = {}
        for name in sorted({self.default.name} | model_names(self._dir)):
            with contextlib.suppress(NotFound):
                snapshots[name] = self._folder(name).snapshot()
        return snapshots

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
            for deployment in (self.default, *self._others.values()):
                await deployment.stop()
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.close()
        for runtime in self._runtimes.values():
            runtime.close()
