"""Runs a command in a process group of its own, with a memory and a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from aimq.errors import Invalid, TaskTooLong, WorkerDied

if sys.platform == "linux":
    import resource

MIB: Final = 1024 * 1024
#: Time between two calls of `check`, in seconds.
_CHECK_SECONDS: Final = 0.2
#: The most that is read of what it printed, in bytes: the end.
_TAIL: Final = MIB
#: How much lower than ours its priority is.
_NICE: Final = 10
_PREFIX: Final = "aimq: "
#: What the last lines say when memory ran out.
_NO_MEMORY: Final = ("MemoryError", "bad_alloc", "Cannot allocate memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the process may use.

    Attributes:
        memory: bytes of address space, of each process of the group. On Linux only.
        seconds: of wall-clock time.
    """

    memory: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How the process ended.

    Attributes:
        code: exit code.
        last_line: of its standard output.
        said: the last line of its standard error that is addressed to its user, else empty.
        last_error: the last line of its standard error.
    """

    code: int
    last_line: str
    said: str
    last_error: str


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    limits: Limits,
    check: Callable[[], object],
) -> Finished:
    """Run a command in `folder` to its end; nothing of it is left then. Blocks.

    Args:
        environment: all of it.
        check: called about five times a second; what it raises ends the process.

    Raises:
        TaskTooLong: over the time limit.
        Invalid: over the memory limit.
        WorkerDied: it was killed.
    """
    with (folder / "stdout").open("w+b") as out, (folder / "stderr").open("w+b") as err:
        process = subprocess.Popen(  # noqa: S603 # a list, no shell; the caller quotes what came
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            process_group=0,
        )
        try:
            _limit(process.pid, limits.memory)
            _wait(process, limits.seconds, check)
        finally:
            with suppress(ProcessLookupError):  # nothing of the group is left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return _finished(process.returncode, _lines(out), _lines(err), limits)


def _limit(pid: int, memory: int) -> None:
    """Bound a process that has just begun, and those that it starts."""
    with suppress(ProcessLookupError):  # it has ended already
        os.setpriority(os.PRIO_PROCESS, pid, _NICE)
        if sys.platform == "linux":
            _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
            soft = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
            resource.prlimit(pid, resource.RLIMIT_AS, (soft, hard))


def _wait(process: subprocess.Popen[bytes], seconds: float, check: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_CHECK_SECONDS)
            return
        check()
        if time.monotonic() > deadline:
            raise TaskTooLong(
                f"The training took more than {seconds / 60:.0f} minutes and was stopped. Train on "
                "fewer rows or columns, or with `aimq train` on a machine of your own."
            )


def _lines(file: BinaryIO) -> list[str]:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    return file.read().decode(errors="replace").strip().splitlines()


def _finished(code: int, out: list[str], err: list[str], limits: Limits) -> Finished:
    if code == -signal.SIGKILL:
        raise WorkerDied("The process of the training was killed, perhaps for want of memory.")
    if code < 0 or (code and any(word in line for line in err[-3:] for word in _NO_MEMORY)):
        raise Invalid(
            f"The training takes more than {limits.memory // MIB:,} MiB of memory. Train on fewer "
            "rows or columns, or with `aimq train` on a machine with more."
        )
    said = [line.removeprefix(_PREFIX) for line in err if line.startswith(_PREFIX)]
    return Finished(
        code=code,
        last_line=out[-1] if out else "",
        said=said[-1] if said else "",
        last_error=err[-1] if err else "",
    )
