"""The parent's end of a process that parses workbooks; `aimq.workbook.child` is the other."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from typing import Any, BinaryIO, Final

from aimq import errors
from aimq.errors import AimqError, InternalError, TaskTooLong, WorkbookError, WorkerDied

#: Longest wait for a child that is stopped, in seconds. One that is busy ends itself sooner.
_FROZEN_SECONDS: Final = 900.0
_BLOCK: Final = 1 << 16
#: The address space is what is limited, so nothing may reserve much of it.
_ENVIRONMENT: Final = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

_SMALLER: Final = (
    "Delete the rows and columns beyond the table (select them, Delete), save, and try again; or "
    "split it into several workbooks."
)
TOO_MUCH: Final = f"The workbook takes too much memory to be read. {_SMALLER}"
TOO_LONG: Final = f"The workbook takes too long to be read. {_SMALLER}"

logger = logging.getLogger(__name__)


class Parser:
    """One process, behind a socket. Used by one thread at a time, but for `kill`."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_FROZEN_SECONDS)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "aimq.workbook.child"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # a reader that panics or aborts says so there
                env=os.environ | _ENVIRONMENT,
            )

    @property
    def alive(self) -> bool:
        """False if it ended while it was idle."""
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], file: BinaryIO, target: BinaryIO) -> dict[str, Any]:
        """Return the answer about a file, which may be an error. Blocks.

        Args:
            file: the workbook, an open file with a descriptor.
            target: where the cells go, likewise.

        Raises:
            TaskTooLong: the time limit is reached.
            WorkbookError: the memory limit is reached.
            WorkerDied: the process was killed.
            InternalError: the process failed.
        """
        descriptors = [file.fileno(), target.fileno()]
        received = bytearray()
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
            while not received.endswith(b"\n"):
                block = self._socket.recv(_BLOCK)
                if not block:
                    raise self._ended()
                received += block
        except TimeoutError as exc:
            raise TaskTooLong(TOO_LONG) from exc
        except OSError as exc:
            raise self._ended() from exc
        answer: dict[str, Any] = json.loads(received)
        if answer["worn"]:
            self.close()
        return answer

    def kill(self) -> None:
        """End the process; the thread that waits for its answer gets `WorkerDied`."""
        self._process.kill()

    def close(self) -> None:
        """End the process and release what it held. Idempotent."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _ended(self) -> AimqError:
        code = self._process.wait()
        if code == -signal.SIGALRM:
            return TaskTooLong(TOO_LONG)
        if code == -signal.SIGKILL:
            return WorkerDied("The process that read the workbook was killed.")
        if code < 0:
            return WorkbookError(TOO_MUCH)
        return InternalError(f"The process that reads workbooks ended with exit code {code}.")


def error_of(answer: dict[str, Any]) -> AimqError:
    """Return the error that a child answers with."""
    if answer["error"] == InternalError.__name__:
        logger.error("Reading a workbook failed: %s", answer["detail"])
        return InternalError("The workbook cannot be read through a fault of ours.")
    error: AimqError = getattr(errors, answer["error"])(answer["detail"])
    return error
