"""A server of a test's own: it can be stopped, killed, paused and started again."""

from __future__ import annotations

import shutil
import signal
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from tests.servers.process import ServerProcess


class PrivateServer(ABC):
    """A server process with a folder of its own. A context manager.

    What it has confirmed survives `kill` and `start`. Not thread-safe.

    Args:
        name: of its folder.
    """

    def __init__(self, name: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"aimq-{name}-"))
        self._process: ServerProcess | None = None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        return self._running.pid

    @abstractmethod
    def start(self) -> None:
        """Start, and wait until it answers; it finds the data of its last run."""

    def stop(self) -> None:
        """Ask it to stop and wait for its end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Leave every client waiting for an answer, until `resume`."""
        self._running.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._running.send(signal.SIGCONT)

    def close(self) -> None:
        """Kill it and remove its data. Idempotent."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _running(self) -> ServerProcess:
        assert self._process is not None, "not running"
        return self._process

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end(number)
