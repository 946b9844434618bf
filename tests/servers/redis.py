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
        replica_of: the server that it copies, until a Sentinel makes it the primary.
    """

    def __init__(self, fsync: str = "always", replica_of: RedisServer | None = None) -> None:
        self._fsync = fsync
        self._primary = replica_of
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
        if self._primary is not None:
            command += ["--replicaof", "127.0.0.1", str(self._primary.port)]
        self._process = ServerProcess(command, os.environ, self._folder / "server.log")
        self._process.wait_until(lambda: answers(self.port, b"PING\r\n", b"+PONG"))


class SentinelServer(PrivateServer):
    """A Sentinel that makes the replica of ``mymaster`` the primary when that is down for 1 s."""

    def __init__(self, primary: RedisServer) -> None:
        self._program = program("redis-server", "/usr/bin/redis-server")
        self._primary = primary
        super().__init__("sentinel")
        (self.port,) = free_ports(1)

    def start(self) -> None:
        """Start, and wait until it answers."""
        configuration = self._folder / "sentinel.conf"
        configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self._folder}\n"
            f"sentinel monitor mymaster 127.0.0.1 {self._primary.port} 1\n"
            "sentinel down-after-milliseconds mymaster 1000\n"
            "sentinel failover-timeout mymaster 3000\n"
        )
        command = [self._program, str(configuration), "--sentinel"]
        self._process = ServerProcess(command, os.environ, self._folder / "server.log")
        self._process.wait_until(lambda: answers(self.port, b"PING\r\n", b"+PONG"))
