"""The services as processes of their own, for studies and for tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
#: Longest wait for a start or an end, in seconds.
PATIENCE = 60.0


@dataclass
class MlProcess:
    """A running service.

    Attributes:
        log: its standard error, a file.
        start_seconds: from the start of the process until it was ready.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    start_seconds: float = 0.0

    @property
    def memory_mib(self) -> float:
        """Memory of its own, in MiB: resident, its part of what is shared; NaN but on Linux."""
        try:
            text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            return float("nan")
        return next(int(line.split()[1]) for line in text.splitlines() if "Pss:" in line) / 1024

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop, and return its exit code."""
        self.process.send_signal(signum)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def ml_service(models: Path, data: Path, **environ: str) -> Iterator[MlProcess]:
    """Run the service on a free port until the block ends; it is ready when the block starts."""
    chosen = {"AIMQ_MODELS_DIR": str(models), "AIMQ_DATA_DIR": str(data), "AIMQ_ML_PORT": "0"}
    with _process("ml_service", data / "ml.log", chosen | environ) as service:
        yield service


@contextlib.contextmanager
def interface(ml_url: str, data: Path, **environ: str) -> Iterator[MlProcess]:
    """Run the interface, embedded, on a free port until the block ends."""
    chosen = {"AIMQ_ML_URL": ml_url, "AIMQ_DATA_DIR": str(data), "AIMQ_INTERFACE_PORT": "0"}
    with _process("interface", data / "interface.log", chosen | environ) as service:
        yield service


@contextlib.contextmanager
def _process(package: str, log: Path, environ: dict[str, str]) -> Iterator[MlProcess]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIMQ_")}
    started = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN.format(package)],
            env={**inherited, "PYTHONPATH": str(ROOT), **environ},
            stderr=stream,
        )
    try:
        running = MlProcess(_address(process, log), process, log)
        _wait_ready(running)
        running.start_seconds = time.perf_counter() - started
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(PATIENCE)


_RUN = """
import sys
from aimq.settings import load_settings
from aimq.telemetry import configure_logging
from {0}.app import run
settings = load_settings()
configure_logging(settings, "{0}")
sys.exit(run(settings))
"""


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text().splitlines():
            if "listening on " in line:
                return line.rpartition("listening on ")[2]
        time.sleep(0.02)
    raise AssertionError(f"the service did not start: {log.read_text()}")


def _wait_ready(running: MlProcess) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{running.url}/health/ready").status_code == 200:
                return
        time.sleep(0.02)
    raise AssertionError(f"the service is not ready: {running.log.read_text()}")
