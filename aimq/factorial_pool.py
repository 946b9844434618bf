"""Computes factorials in child processes, which can be killed at any moment.

The loop holds Python's interpreter lock: in a thread it would slow down everything else in its
process, heartbeats first. A child reads one number per line on its standard input and answers with
one line of digits. It runs at low priority, so that the services go first on a busy machine, and
ends when its standard input does: with its parent, however that ended.
"""

from __future__ import annotations

import io
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from aimq.child_pool import ChildPool
from aimq.errors import Overloaded, TaskTooLong, WorkerDied

#: Time between two calls of `check`, in seconds.
_CHECK_SECONDS: Final = 0.1


class FactorialPool:
    """At most `count` computations at once, each in a process that is kept for the next one.

    Thread-safe. Nothing is started before it is needed.

    Args:
        seconds: longest computation.
    """

    def __init__(self, count: int, seconds: float) -> None:
        self._pool = ChildPool(_Child, count)
        self._seconds = seconds

    def digits(self, no: int, check: Callable[[], object] = bool) -> str:
        """Return the decimal digits of ``no!``. Blocks; waits for a free process.

        Args:
            no: 0 or more.
            check: called about ten times a second; what it raises stops the computation.

        Raises:
            TaskTooLong: it took too long and was stopped.
            WorkerDied: its process died: killed, or out of memory.
        """
        while True:
            with suppress(Overloaded), self._pool.child(wait=_CHECK_SECONDS) as child:
                child.ask(no)
                self._wait(child, check)
                return child.answer()
            check()

    def close(self) -> None:
        """Kill every process; what is being computed ends with `WorkerDied`. Idempotent."""
        self._pool.close()

    def _wait(self, child: _Child, check: Callable[[], object]) -> None:
        deadline = time.monotonic() + self._seconds
        while not child.answers(_CHECK_SECONDS):
            check()
            if time.monotonic() > deadline:
                raise TaskTooLong(
                    f"The computation took more than {self._seconds:g} s and was stopped. Ask for "
                    "a smaller number."
                )


class _Child:
    """One process. Used by one thread at a time, but for `kill`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "aimq.factorial_pool_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._questions = cast("io.RawIOBase", self._process.stdin)
        self._answers = io.BufferedReader(cast("io.RawIOBase", self._process.stdout))

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, no: int) -> None:
        try:
            self._questions.write(b"%d\n" % no)
        except OSError as exc:
            raise self._died() from exc

    def answers(self, seconds: float) -> bool:
        """Wait for the beginning of the answer, or the process's end; False if neither came."""
        return bool(select.select([self._answers], [], [], seconds)[0])

    def answer(self) -> str:
        """Return the answer, which has begun. The rest follows at once."""
        line = self._answers.readline()
        if not line.endswith(b"\n"):
            raise self._died()
        return line[:-1].decode("ascii")

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """End the process and release what it held. Idempotent."""
        self._process.kill()
        self._process.wait()
        self._questions.close()
        self._answers.close()

    def _died(self) -> WorkerDied:
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return WorkerDied(f"The process that computed it died ({how}), perhaps for want of memory.")
