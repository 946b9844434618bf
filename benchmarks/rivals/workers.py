"""Runs a task queue: two worker processes and the process that submits to them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.rivals.contender import BROKER_URL, ML_URL, QUEUE_TYPE, STORE_URL

ROOT: Final = Path(__file__).parents[2]
#: Environment of the rivals, made by `make`.
VENV: Final = ROOT / ".cache" / "bench"
_PATIENCE: Final = 30.0
_CELERY: Final = ("worker", "--pool=prefork", "--concurrency=2", "--without-gossip",
                  "--without-mingle", "--loglevel=WARNING")  # fmt: skip
_PACKAGE: Final = "benchmarks.rivals"


def commands(name: str) -> list[list[str]]:
    """Return what starts two worker processes of a queue."""
    binaries = VENV / "bin"
    if name == "aimq":
        return [[sys.executable, "-m", f"{_PACKAGE}.ours"]] * 2
    module = f"{_PACKAGE}.{name}_queue"
    return {
        "celery": [
            [str(binaries / "celery"), "-A", module, *_CELERY],
        ],
        "dramatiq": [[str(binaries / "dramatiq"), module, "--processes", "2"]],
        "taskiq": [
            [str(binaries / "taskiq"), "worker", f"{module}:broker", "--workers", "2",
             "--ack-type", "when_saved", "--log-level", "WARNING"],
        ],
    }[name]  # fmt: skip


@dataclass
class Driver:
    """The submitting process."""

    process: subprocess.Popen[str]

    def measure(self, count: int) -> dict[str, float]:
        """Submit so many tasks; see `benchmarks.rivals.drive`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the submitting process ended")
        answer: dict[str, float] = json.loads(line)
        return answer


@contextlib.contextmanager
def web(broker_url: str, store_url: str, ml_url: str, port: int, log: Path) -> Iterator[str]:
    """Run FastAPI and Celery for the length of a ``with`` block; gives their address."""
    module = f"{_PACKAGE}.celery_web"
    environ = {**_environment(broker_url, store_url), ML_URL: ml_url}
    commands = (
        [str(VENV / "bin" / "celery"), "-A", f"{module}:queue", *_CELERY],
        [str(VENV / "bin" / "uvicorn"), f"{module}:app", "--port", str(port),
         "--no-access-log", "--log-level", "warning"],
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("ab"))
        for command in commands:
            stack.callback(_end, _started(command, environ, stdout=output, stderr=output))
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def running(name: str, broker_url: str, store_url: str, log: Path) -> Iterator[Driver]:
    """Run a task queue for the length of a ``with`` block; what its workers print goes to `log`.

    Args:
        name: of the task queue, with the type of its queues: ``celery quorum``.
    """
    name, _, queue_type = name.partition(" ")
    python = sys.executable if name == "aimq" else str(VENV / "bin" / "python")
    environ = {**_environment(broker_url, store_url), QUEUE_TYPE: queue_type}
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("ab"))
        for command in commands(name):
            worker = _started(command, environ, stdout=output, stderr=output)
            stack.callback(_end, worker)
        process = subprocess.Popen(
            [python, "-m", f"{_PACKAGE}.drive", name],
            env=environ, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        stack.callback(_end, process)
        yield Driver(process)


def _environment(broker_url: str, store_url: str) -> dict[str, str]:
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("AIMQ_")},
        BROKER_URL: broker_url,
        STORE_URL: store_url,
        "PYTHONPATH": str(ROOT),
    }


def _started(
    command: Sequence[str], environ: dict[str, str], **streams: object
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=environ, cwd=ROOT, **streams)  # type: ignore[call-overload]


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
