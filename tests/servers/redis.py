"""A private redis-server on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

from tests.servers.process import ServerProcess, answers, free_ports, program


class RedisServer:
    """A ``redis-server`` with its own port and folder. A context manager.

    Every write goes to its append-only file before it is answered, so that what it has confirmed
    survives `kill`.

    Args:
        fsync: when that file is flushed to the disk: always, or (for measurements) everysec.
    """

    def __init__(self, fsync: str = "always") -> None:
        self._fsync = fsync
        self._program = program("redis-server", "/usr/bin/redis-server")
        self._folder = Path(tempfile.mkdtemp(prefix="aimq-redis-"))
        (self.port,) = free_ports(1)
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """Address of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "not running"
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it answers; it finds the data of its last run."""
        command = [
            self._program, "--port", str(self.port), "--bind", "127.0.0.1",
            "--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", self._fsync,
            "--save", "", "--daemonize", "no", "--maxmemory", "512mb",
        ]  # fmt: skip
        self._process = ServerProcess(command, os.environ, self._folder / "server.log")
        self._process.wait_until(lambda: answers(self.port, b"PING\r\n", b"+PONG"))

    def stop(self) -> None:
        """Ask it to stop and wait for its end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Leave every client waiting for an answer, until `resume`."""
        assert self._process is not None, "not running"
        self._process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        assert self._process is not None, "not running"
        self._process.send(signal.SIGCONT)

    def close(self) -> None:
        """Kill it and remove its data. Idempotent."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> RedisServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end(number)
