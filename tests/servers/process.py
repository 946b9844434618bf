"""A server process that dies with the process that started it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

#: Longest wait for a start or an end, in seconds; a busy machine takes its time.
PATIENCE = 90.0
_POLL_SECONDS = 0.05


class Missing(RuntimeError):
    """A program that a server needs is not installed."""


def program(name: str, *elsewhere: str) -> str:
    """Return the path of a program.

    Raises:
        Missing: it is not installed.
    """
    for candidate in (*elsewhere, name):
        found = shutil.which(candidate)
        if found is not None:
            return found
    raise Missing(f"{name} is not installed (make services installs it on Debian and Ubuntu)")


class ServerProcess:
    """One program in a process group of its own, its output in a file.

    Where ``setpriv`` exists (util-linux), the kernel ends it when its parent ends, however that
    ends. Not thread-safe: start it from the thread that lives longest.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        guard = shutil.which("setpriv")
        prefix = [guard, "--pdeathsig", "TERM"] if guard else []
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*prefix, *command],
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, and id of the process group."""
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until the server answers; raise with the end of its log when it does not."""
        deadline = time.monotonic() + PATIENCE
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-4000:]
                self.end(signal.SIGKILL)
                raise RuntimeError(f"server did not start:\n{tail}")
            time.sleep(_POLL_SECONDS)

    def send(self, number: int) -> None:
        """Send a signal to every process of the group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def end(self, number: int = signal.SIGTERM) -> None:
        """End the whole group: with `number` first, and by force after a while. Idempotent."""
        self.send(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE / 3)
        self.send(signal.SIGKILL)
        self._process.wait()


#: Below the ports that systems give to outgoing connections, one of which might else take a port
#: between its being found free and its being listened on.
_PORTS: Final = range(10_000, 32_000)
_drawn: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on now; none is returned twice."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().choice(_PORTS)
        if port in _drawn:
            continue
        _drawn.add(port)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
    return ports


def answers(port: int, question: bytes, start: bytes) -> bool:
    """Tell whether a server on loopback answers `question` with something that begins so."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(question)
            return sock.recv(64).startswith(start)
    except OSError:
        return False
