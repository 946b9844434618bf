"""Computes factorials in processes of their own, which can be stopped at any moment.

The loop keeps Python's interpreter lock: in a thread it would slow down everything else in its
process, heartbeats first. A child reads one number per line on its standard input and answers with
a line that says how many digits follow, and the digits. It runs at low priority, so that the front
door goes first on a busy machine, and ends when its standard input does: with its parent, however
that ended.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from aimq.errors import InternalError, TaskTooLong, WorkerDied

#: Time between two looks whether the result is still wanted, in seconds.
_LOOK_SECONDS: Final = 0.1
_BLOCK: Final = 1024 * 1024


class FactorialPool:
    """At most `count` computations at once, each in a process that is kept for the next one.

    Thread-safe. Nothing is started before it is needed.

    Args:
        seconds: longest computation.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._slots = threading.BoundedSemaphore(count)
        self._seconds = seconds
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._lock = threading.Lock()
        self._closed = False

    def digits(self, no: int, check: Callable[[], object] = bool) -> str:
        """Return the decimal digits of ``no!``. Blocks; waits for a free process.

        Args:
            no: 0 or more.
            check: called about ten times a second; what it raises stops the computation.

        Raises:
            TaskTooLong: it took too long and was stopped.
            WorkerDied: its process died: killed, or out of memory.
        """
        while not self._slots.acquire(timeout=_LOOK_SECONDS):
            check()
        try:
            return self._compute(no, check)
        finally:
            self._slots.release()

    def _compute(self, no: int, check: Callable[[], object]) -> str:
        child = self._take()
        try:
            child.ask(no)
            self._wait(child, check)
            result = child.answer()
        except BaseException:
            self._discard(child)
            raise
        self._give_back(child)
        return result

    def _wait(self, child: _Child, check: Callable[[], object]) -> None:
        deadline = time.monotonic() + self._seconds
        while not child.answers(_LOOK_SECONDS):
            check()
            if time.monotonic() > deadline:
                raise TaskTooLong(
                    f"The computation took more than {self._seconds:g} s and was stopped. Ask for "
                    "a smaller number."
                )

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

    def _give_back(self, child: _Child) -> None:
        with self._lock:
            self._busy.discard(child)
            if not self._closed:
                self._idle.append(child)
                return
        child.close()

    def _discard(self, child: _Child) -> None:
        with self._lock:
            self._busy.discard(child)
        child.close()

    def close(self) -> None:
        """Stop every process; what is being computed ends with `WorkerDied`. Idempotent."""
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
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aimq.factorial_pool_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    def ask(self, no: int) -> None:
        assert self._process.stdin is not None  # noqa: S101 # a pipe was asked for
        try:
            self._process.stdin.write(b"%d\n" % no)
        except OSError as exc:
            raise self._died() from exc

    def answers(self, seconds: float) -> bool:
        """Wait for the beginning of the answer, or the process's end."""
        assert self._process.stdout is not None  # noqa: S101 # a pipe was asked for
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def answer(self) -> str:
        """Return the answer, which has begun. The rest follows at once."""
        assert self._process.stdout is not None  # noqa: S101 # a pipe was asked for
        received = bytearray()
        length = -1
        descriptor = self._process.stdout.fileno()
        while length < 0 or len(received) < length:
            block = os.read(descriptor, _BLOCK)
            if not block:
                raise self._died()
            received += block
            if length < 0 and (end := received.find(b"\n")) >= 0:
                length = int(received[:end])
                del received[: end + 1]
        if len(received) > length:
            raise InternalError("a calculator answered more than it was asked")
        return received.decode("ascii")

    def close(self) -> None:
        """End the process and take note of it. Idempotent."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _died(self) -> WorkerDied:
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return WorkerDied(f"The process that computed it died ({how}), perhaps for want of memory.")
