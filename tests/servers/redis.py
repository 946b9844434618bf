"""A private redis-server on loopback."""

from __future__ import annotations

import os

from tests.servers.private import PrivateServer
from tests.servers.process import ServerProcess, answers, free_ports, program


class RedisServer(PrivateServer):
    """A ``redis-server`` with its own port and folder.

    Every write goes to its append-only file before it is answered, so that what it has confirmed
    survives `kill`.

    Args:
        fsync: when that file is flushed to the disk: always, or (for measurements) everysec.
    """

    def __init__(self, fsync: str = "always") -> None:
        self._fsync = fsync
        self._program = program("redis-server", "/usr/bin/redis-server")
        super().__init__("redis")
        (self.port,) = free_ports(1)

    @property
    def url(self) -> str:
        """Address of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and wait until it answers; it finds the data of its last run."""
        command = [
            self._program, "--port", str(self.port), "--bind", "127.0.0.1",
            "--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", self._fsync,
            "--save", "", "--daemonize", "no", "--maxmemory", "512mb",
        ]  # fmt: skip
        self._process = ServerProcess(command, os.environ, self._folder / "server.log")
        self._process.wait_until(lambda: answers(self.port, b"PING\r\n", b"+PONG"))
