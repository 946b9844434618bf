"""Runs the services as child processes, restarts those that die, and stops all in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aimq.restart_backoff import RestartBackoff

#: Exit code of a service that refuses its settings: starting it again cannot help.
REFUSED = 2


@dataclass(slots=True)
class Service:
    """One supervised child.

    Attributes:
        name: for people.
        command: what to execute.
    """

    name: str
    command: Sequence[str]
    policy: RestartBackoff = field(default_factory=RestartBackoff)
    process: asyncio.subprocess.Process | None = None


class Supervisor:
    """Starts services together and stops them in the order given.

    Args:
        services: in the order in which they are stopped.
        environ: their environment.
        say: prints one line for a person.
        stop_seconds: how long one service may take to stop before it is killed.
        together: stop them at the same time.
        pass_fds: descriptors that they inherit.
    """

    def __init__(
        self,
        services: Sequence[Service],
        environ: Mapping[str, str],
        say: Callable[[str], None],
        stop_seconds: float = 30.0,
        *,
        together: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._services = services
        self._environ = dict(environ)
        self._say = say
        self._stop_seconds = stop_seconds
        self._together = together
        self._pass_fds = pass_fds
        self._stopping = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        """Serve until SIGINT, SIGTERM or a refusal; return 0, or the refusing service's code."""
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, self.stop)
        watchers = [asyncio.create_task(self._keep(service)) for service in self._services]
        await self._stopping.wait()
        ends = [self._end(service) for service in self._services]
        if self._together:
            await asyncio.gather(*ends)
        else:
            for end in ends:
                await end
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        return self._exit_code

    def stop(self) -> None:
        """Ask for the end of `run`. Call it on the event loop."""
        self._stopping.set()

    async def _keep(self, service: Service) -> None:
        while not self._stopping.is_set():
            started = time.monotonic()
            service.process = await asyncio.create_subprocess_exec(
                *service.command, env=self._environ, stdin=asyncio.subprocess.DEVNULL,
                # A separate process group: Ctrl-C reaches the supervisor only.
                start_new_session=True, pass_fds=self._pass_fds,
            )  # fmt: skip
            code = await service.process.wait()
            if self._stopping.is_set():
                return
            if code == REFUSED:
                self._exit_code = code
                self.stop()
                return
            delay = service.policy.next_delay(time.monotonic() - started)
            self._say(f"{service.name} died ({_cause(code)}); starting it again in {delay:.1f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def _end(self, service: Service) -> None:
        process = service.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._stop_seconds)
        except TimeoutError:
            self._say(f"{service.name} did not stop in {self._stop_seconds:.0f} s; killing it")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def service_command(name: str) -> list[str]:
    """Return the command that runs a service and ends it when this process ends."""
    return [sys.executable, "-m", "aimq", name, "--parent", str(os.getpid())]
