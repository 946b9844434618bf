"""A remote runtime with one in this process behind it: no request fails because the remote does.

Requests ask the remote while the breaker is closed, and the runtime in this process otherwise. A
thread of the fallback probes the remote, loads every model there again and then closes the breaker,
so that no request waits for a recovery.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Iterator

import numpy as np

from aimq.errors import AimqError, InternalError, ModelMissing, ModelRefused, TransientError
from ml_service.breaker import Breaker
from ml_service.runtimes.port import Matrix, Model, ModelFile, ModelRuntime, Predictions

log = logging.getLogger(__name__)

#: Rows up to which the runtime in this process is faster on the event loop than in a thread.
INLINE_ROWS = 64
#: Pause between two checks that the remote still has the models, in seconds.
CHECK_SECONDS = 30.0
_JOIN_SECONDS = 2.0


class FallbackRuntime:
    """Answers from `primary` while its breaker is closed, else from `secondary`. Thread-safe.

    Owns both runtimes and a thread; `close` ends all three.

    Args:
        primary: the remote runtime.
        secondary: the runtime in this process; a model it refuses is refused.
        breaker: decides when the primary is asked. Used by nobody else.
        check_seconds: pause between two checks of a primary that works, in seconds.
    """

    def __init__(
        self,
        primary: ModelRuntime,
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
        self._models: weakref.WeakSet[FallbackModel] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fallback", daemon=True)
        self._thread.start()

    @property
    def asks_primary(self) -> bool:
        """True while requests go to the primary."""
        return self._breaker.closed

    def load(self, file: ModelFile) -> FallbackModel:
        """Load into both. A primary that is away gets the model once it is back.

        Raises:
            ModelRefused: the secondary refuses it. A model that only the primary refuses is
                logged and served by the secondary.
        """
        model = FallbackModel(self, file, self._secondary.load(file))
        with self._lock:
            self._models.add(model)
        if self.asks_primary:
            try:
                model.attach(self._primary)
            except TransientError as exc:
                self._note(exc, trip=True)
        else:
            self._wake.set()  # a probe that ends just now has not seen this model
        return model

    def close(self) -> None:
        """End the thread and close both runtimes. Blocks; idempotent."""
        self._closed.set()
        self._wake.set()
        self._primary.close()
        self._thread.join(_JOIN_SECONDS)
        self._secondary.close()

    @contextlib.contextmanager
    def failures_counted(self) -> Iterator[None]:
        """Count an error of the primary in the block, and swallow it unless it is a bug."""
        try:
            yield
        except InternalError:
            raise
        except AimqError as exc:
            self._note(exc, trip=isinstance(exc, ModelMissing))

    def _note(self, exc: AimqError, *, trip: bool) -> None:
        was_closed = self._breaker.closed
        if trip:
            self._breaker.trip()
        else:
            self._breaker.failed()
        if was_closed and not self._breaker.closed:
            there, here = self._primary.name, self._secondary.name
            log.warning("%s: %s; answering with %s", there, exc.detail, here)
            self._wake.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            due = self._breaker.seconds_to_probe()
            self._wake.wait(self._check_seconds if due is None else due)
            self._wake.clear()
            try:
                self._check_or_probe()
            except Exception:  # the thread must outlive any bug in an adapter
                log.exception("probing %s failed", self._primary.name)
                self._breaker.probe_failed()

    def _check_or_probe(self) -> None:
        with self._lock:
            models = list(self._models)
        due = self._breaker.seconds_to_probe()
        if due is None:
            with self.failures_counted():
                for model in models:
                    model.check(self._primary)
        elif due == 0 and not self._closed.is_set():
            self._probe(models)

    def _probe(self, models: list[FallbackModel]) -> None:
        try:
            for model in models:
                model.attach(self._primary)
        except TransientError as exc:
            log.debug("%s: still away: %s", self._primary.name, exc.detail)
            self._breaker.probe_failed()
        else:
            self._breaker.probe_succeeded()
            log.info("%s answers again", self._primary.name)


class FallbackModel:
    """A model of `FallbackRuntime`. Thread-safe."""

    waits = True

    def __init__(self, runtime: FallbackRuntime, file: ModelFile, here: Model) -> None:
        self._runtime = runtime
        self._file = file
        self._here = here
        self._there: Model | None = None
        self._refused = False

    def predict(self, matrix: Matrix) -> Predictions:
        """See `Model.predict`."""
        if self._there is not None and self._runtime.asks_primary:
            with self._runtime.failures_counted():
                return self._there.predict(matrix)
        return self._here.predict(matrix)

    async def predict_async(self, matrix: Matrix) -> Predictions:
        """See `Model.predict_async`."""
        if self._there is not None and self._runtime.asks_primary:
            with self._runtime.failures_counted():
                return await self._there.predict_async(matrix)
        if len(matrix) <= INLINE_ROWS:
            return self._here.predict(matrix)
        return await self._here.predict_async(matrix)

    def attach(self, primary: ModelRuntime) -> None:
        """Make sure that the primary has the model. Blocks; raises `TransientError`.

        A model that the primary refuses is served here for good: a file does not change.
        """
        if self._refused:
            return
        try:
            self._there = primary.load(self._file)
        except ModelRefused as exc:
            self._refused, self._there = True, None
            log.warning("%s refuses %s: %s", primary.name, self._file.path, exc.detail)

    def check(self, primary: ModelRuntime) -> None:
        """Make sure that the primary still has the model, and keep it there. Blocks.

        Raises:
            ModelMissing: the primary has lost the model. It gets the model again when requests no
                longer go there, because loading may stop it for seconds.
            TransientError: the primary cannot be reached, or does not answer in time.
        """
        if self._refused:
            return
        if self._there is None:
            raise ModelMissing("a model is not there yet")
        self._there.predict(np.zeros((1, self._file.features), np.float32))
        self.attach(primary)
