"""A remote runtime with one in this process behind it: no request fails because the remote does.

A request never pays for the remote's recovery. It asks the remote while the breaker is closed, and
the runtime here otherwise; a thread of its own probes the remote, stores again what a restart has
lost, tries every model, and only then closes the breaker.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Protocol

from aimq.errors import AimqError, InternalError, ModelMissing, ModelRefused, TransientError
from ml_service.breaker import Breaker
from ml_service.runtimes.port import (
    Answer,
    AsyncModel,
    LoadedModel,
    Matrix,
    ModelFile,
    ModelRuntime,
    Vector,
)

log = logging.getLogger(__name__)

#: Rows up to which the in-process runtime is faster on the event loop than in a thread.
INLINE_ROWS = 64
#: Pause between two checks that the remote still has the models, in seconds.
CHECK_SECONDS = 30.0
JOIN_SECONDS = 2.0


class RestorableModel(AsyncModel, Protocol):
    """A model on a remote runtime that may lose it. Thread-safe."""

    def restore(self) -> None:
        """Make sure that the remote has the model and executes it. Blocks; raises `AimqError`."""
        ...

    def renew(self) -> bool:
        """Keep the model on the remote; false when it is gone. Blocks; raises `TransientError`."""
        ...


class RemoteRuntime(Protocol):
    """A `ModelRuntime` whose models are restorable."""

    name: str

    def load(self, model: ModelFile) -> RestorableModel:
        """See `ModelRuntime.load`."""
        ...

    def close(self) -> None:
        """See `ModelRuntime.close`."""
        ...


class FallbackRuntime:
    """Answers from `primary` while it is fit, from `secondary` otherwise. Thread-safe.

    Owns both runtimes and a thread; `close` ends all three.

    Args:
        primary: the remote runtime.
        secondary: the runtime in this process; a model it refuses is refused.
        breaker: decides when the primary is asked. Used by nobody else.
        check_seconds: pause between two checks of a primary that is fit, in seconds.
    """

    def __init__(
        self,
        primary: RemoteRuntime,
        secondary: ModelRuntime,
        breaker: Breaker,
        *,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self.name = f"{primary.name}, else {secondary.name}"
        self._primary = primary
        self._secondary = secondary
        self._breaker = breaker
        self._check_seconds = check_seconds
        self._models: set[FallbackModel] = set()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._tend, name="fallback", daemon=True)
        self._thread.start()

    @property
    def fit(self) -> bool:
        """Whether requests go to the primary at present."""
        return self._breaker.closed

    def load(self, model: ModelFile) -> FallbackModel:
        """Load into both. A primary that is away gets the model once it is back.

        Raises:
            ModelRefused: the secondary refuses it. A primary that refuses it is only logged, and
                not asked for this model.
        """
        loaded = FallbackModel(self, model, self._secondary.load(model))
        with self._lock:
            self._models.add(loaded)
        if not self._breaker.closed:
            self._wake.set()  # in case that a probe ends just now without this model
            return loaded
        try:
            loaded.attach(self._primary)
        except TransientError as exc:
            self._lost(exc)
        return loaded

    def close(self) -> None:
        """End the thread and close both runtimes. Idempotent."""
        self._closed.set()
        self._wake.set()
        self._primary.close()
        self._thread.join(JOIN_SECONDS)
        self._secondary.close()

    @property
    def names(self) -> tuple[str, str]:
        """Names of the primary and of the secondary."""
        return self._primary.name, self._secondary.name

    def failed(self, exc: AimqError) -> None:
        """Count a call that the primary did not answer."""
        if isinstance(exc, ModelMissing):
            self._lost(exc)
            return
        was_closed = self._breaker.closed
        self._breaker.failed()
        if was_closed and not self._breaker.closed:
            log.warning("%s: %s; answering with %s", *self._told(exc))
            self._wake.set()

    def forget(self, model: FallbackModel) -> None:
        """Tend a model no longer."""
        with self._lock:
            self._models.discard(model)

    def _lost(self, exc: AimqError) -> None:
        if self._breaker.closed:
            log.warning("%s: %s; answering with %s", *self._told(exc))
        self._breaker.trip()
        self._wake.set()

    def _told(self, exc: AimqError) -> tuple[str, str, str]:
        return self._primary.name, exc.detail, self._secondary.name

    def _tend(self) -> None:
        while not self._closed.is_set():
            due = self._breaker.seconds_to_probe()
            self._wake.wait(self._check_seconds if due is None else due)
            self._wake.clear()
            if self._closed.is_set():
                return
            try:
                self._check()
                self._probe()
            except Exception:  # the thread must outlive any bug in an adapter
                log.exception("tending %s failed", self._primary.name)
                self._breaker.failed()

    def _check(self) -> None:
        """While the primary is fit: keep its models there, notice what it has lost."""
        if not self._breaker.closed:
            return
        try:
            if not all(model.renew() for model in self._snapshot()):
                self._lost(ModelMissing("a model is gone"))
        except TransientError as exc:
            self.failed(exc)

    def _probe(self) -> None:
        """While the primary is not fit, and a probe is due: put it right."""
        if not self._breaker.try_probe():
            return
        try:
            for model in self._snapshot():
                model.attach(self._primary)
        except TransientError as exc:
            log.debug("%s: still not fit: %s", self._primary.name, exc.detail)
            self._breaker.failed()
        else:
            self._breaker.succeeded()
            log.info("%s is fit again", self._primary.name)

    def _snapshot(self) -> list[FallbackModel]:
        with self._lock:
            return list(self._models)


class FallbackModel:
    """A model of `FallbackRuntime`: an `AnsweringModel`. Thread-safe."""

    def __init__(self, runtime: FallbackRuntime, model: ModelFile, here: LoadedModel) -> None:
        self._runtime = runtime
        self._model = model
        self._here = here
        self._there: RestorableModel | None = None
        self._refused = False

    def predict(self, matrix: Matrix) -> Vector:
        """See `LoadedModel.predict`."""
        return self.answer(matrix).values

    def answer(self, matrix: Matrix) -> Answer:
        """See `AnsweringModel.answer`."""
        there, here = self._runtime.names
        if self._there is not None and self._runtime.fit:
            try:
                return Answer(self._there.predict(matrix), there)
            except InternalError:
                raise
            except AimqError as exc:
                self._runtime.failed(exc)
        return Answer(self._here.predict(matrix), here)

    async def answer_async(self, matrix: Matrix) -> Answer:
        """See `AnsweringModel.answer_async`."""
        there, here = self._runtime.names
        if self._there is not None and self._runtime.fit:
            try:
                return Answer(await self._there.predict_async(matrix), there)
            except InternalError:
                raise
            except AimqError as exc:
                self._runtime.failed(exc)
        if len(matrix) <= INLINE_ROWS:
            return Answer(self._here.predict(matrix), here)
        return Answer(await asyncio.to_thread(self._here.predict, matrix), here)

    def attach(self, primary: RemoteRuntime) -> None:
        """Make the primary fit for this model. Blocks; raises `TransientError`.

        A model that the primary refuses is served here for good: a file does not change.
        """
        if self._refused:
            return
        try:
            if self._there is None:
                self._there = primary.load(self._model)
            else:
                self._there.restore()
        except ModelMissing as exc:  # lost between being stored and being tried
            raise TransientError(exc.detail) from exc
        except ModelRefused as exc:
            self._refused, self._there = True, None
            log.warning("%s refuses %s: %s", primary.name, self._model.path, exc.detail)

    def renew(self) -> bool:
        """Keep the model on the primary; false when it is gone. Raises `TransientError`."""
        return self._refused or (self._there is not None and self._there.renew())

    def close(self) -> None:
        """See `LoadedModel.close`."""
        self._runtime.forget(self)
        if self._there is not None:
            self._there.close()
        self._here.close()
