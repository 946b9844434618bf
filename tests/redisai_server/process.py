"""The stand-in as a process that can be killed, restarted on its port, and frozen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

TESTS = Path(__file__).parents[1]


class RedisAiServer:
    """A stand-in server; a context manager. Forgets everything when it is restarted."""

    def __init__(self, password: str = "") -> None:
        self._password = password
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        secret = f":{self._password}@" if self._password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, on the port it had before if there was one; returns once it listens."""
        command = [sys.executable, "-m", "redisai_server", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [*command, "--password", self._password],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the stand-in did not start: exit code {self._process.wait()}")
        self.port = int(line)

    def kill(self) -> None:
        """End at once, as a crash does."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()
        self._process = None

    def wait(self) -> int:
        """Return the exit code once it has ended by itself."""
        return self._process.wait(timeout=10)

    def freeze(self) -> None:
        """Stop answering; connections stay open and new ones are taken by the kernel."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on where it was frozen."""
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
