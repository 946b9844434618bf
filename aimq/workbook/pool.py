"""Child processes that parse workbooks, kept for the next file. See `aimq.workbook.child`."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import Any, BinaryIO, Final

from aimq import errors
from aimq.errors import AimqError, InternalError, WorkbookError, WorkerDied
from aimq.workbook import limits

#: Longest wait for an answer, in seconds: for a child that is stopped, not one that is busy, which
#: ends itself sooner.
_FROZEN_SECONDS: Final = 900.0
_BLOCK: Final = 1 << 16
#: The address space is what is limited, so nothing may reserve much of it.
_ENVIRONMENT: Final = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


logger = logging.getLogger(__name__)


class OutOfTime(Exception):
    """No child became free in time, or it reached its time limit."""


class ChildPool:
    """At most `count` files at once, each in a process that is kept for the next one.

    Thread-safe. Processes are started when they are needed.
    """

    def __init__(self, count: int) -> None:
        self._slots = threading.BoundedSemaphore(count)
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._lock = threading.Lock()
        self._closed = False

    def ask(
        self, request: dict[str, Any], file: BinaryIO, target: BinaryIO, wait: float | None = None
    ) -> dict[str, Any]:
        """Return a child's answer about a file. Blocks.

        Args:
            file: workbook, an open file with a descriptor.
            target: where the cells go, likewise.
            wait: longest wait for a free process, in seconds.

        Raises:
            OutOfTime: no process became free, or it reached its time limit.
            UnsupportedMedia: the file is no workbook, is protected, or is damaged.
            TooLarge: it unpacks to more than the bound.
            WorkbookError: it cannot be read, is too large, or has no data.
            FilesUnavailable: there is no room for temporary files.
            WorkerDied: the process was killed.
            InternalError: the process failed.
        """
        if not self._slots.acquire(timeout=-1 if wait is None else wait):
            raise OutOfTime
        try:
            return self._ask(request, file, target)
        finally:
            self._slots.release()

    def _ask(self, request: dict[str, Any], file: BinaryIO, target: BinaryIO) -> dict[str, Any]:
        child = self._take()
        try:
            answer = child.ask(request, [file.fileno(), target.fileno()])
        except BaseException:
            self._put_back(child, reusable=False)
            raise
        self._put_back(child, reusable=not answer["worn"])
        if "error" in answer:
            raise _error(answer)
        return answer

    def _take(self) -> _Child:
        with self._lock:
            if self._closed:
                raise WorkerDied("The service is stopping.")
            while self._idle:
                child = self._idle.pop()
                if child.alive:
                    break
                child.close()  # killed while it was idle
            else:
                child = _Child()
            self._busy.add(child)
            return child

    def _put_back(self, child: _Child, *, reusable: bool) -> None:
        with self._lock:
            self._busy.discard(child)
            if reusable and not self._closed:
                self._idle.append(child)
                return
        child.close()

    def close(self) -> None:
        """End every process; who waits for one gets `WorkerDied`. Idempotent."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for child in self._busy:
                child.kill()
        for child in idle:
            child.close()


class _Child:
    """One process. Used by one thread at a time, but for `kill`."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_FROZEN_SECONDS)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "aimq.workbook.child"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | _ENVIRONMENT,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    def ask(self, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        received = bytearray()
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
            while not received.endswith(b"\n"):
                block = self._socket.recv(_BLOCK)
                if not block:
                    raise self._ended()
                received += block
        except TimeoutError:
            raise OutOfTime from None
        except OSError as exc:
            raise self._ended() from exc
        answer: dict[str, Any] = json.loads(received)
        return answer

    def close(self) -> None:
        """End the process and take note of it. Idempotent."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _ended(self) -> Exception:
        code = self._process.wait()
        if code == -signal.SIGALRM:
            return OutOfTime()
        if code == -signal.SIGKILL:
            return WorkerDied("The process that read the workbook was killed.")
        if code < 0:
            return WorkbookError(limits.TOO_MUCH)
        return InternalError(f"The process that reads workbooks ended with exit code {code}.")


def _error(answer: dict[str, Any]) -> AimqError:
    """Return the error that a child answers with."""
    if answer["error"] == InternalError.__name__:
        logger.error("Reading a workbook failed: %s", answer["detail"])
        return InternalError("The workbook cannot be read through a fault of ours.")
    error: AimqError = getattr(errors, answer["error"])(answer["detail"])
    return error
