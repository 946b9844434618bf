"""Real processes for end-to-end tests, chaos and benchmarks: services on free ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.servers.process import free_ports

#: Longest wait for a start or an end, in seconds.
PATIENCE = 60.0
ROOT = Path(__file__).parents[1]


def environment(data: Path, models: Path, **more: str) -> dict[str, str]:
    """Return an environment in which every service has ports and folders of its own."""
    door, ml, metrics = free_ports(3)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIMQ_")}
    return {
        **inherited,
        "AIMQ_DATA_DIR": str(data),
        "AIMQ_MODELS_DIR": str(models),
        "AIMQ_INTERFACE_PORT": str(door),
        "AIMQ_ML_PORT": str(ml),
        "AIMQ_ML_URL": f"http://127.0.0.1:{ml}",
        "AIMQ_METRICS_PORT": str(metrics),
        "PYTHONPATH": str(ROOT),
        **more,
    }


def constants(**values: float) -> dict[str, str]:
    """Return the part of an environment that gives a process other `aimq.settings.Constants`."""
    path = os.pathsep.join([str(ROOT / "tests" / "constants"), str(ROOT)])
    return {"AIMQ_TEST_CONSTANTS": json.dumps(values), "PYTHONPATH": path}


@dataclass
class System:
    """Services that run together."""

    environ: Mapping[str, str]
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Address of the interface."""
        return f"http://127.0.0.1:{self.environ['AIMQ_INTERFACE_PORT']}"

    @property
    def ml_url(self) -> str:
        """Address of the ML service."""
        return self.environ["AIMQ_ML_URL"]

    @property
    def metrics_url(self) -> str:
        """Address of the batch processor's probes."""
        return f"http://127.0.0.1:{self.environ['AIMQ_METRICS_PORT']}"

    def aimq(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line beside the services."""
        return run_aimq(self.environ, *arguments)

    def stop(self) -> int:
        """Ask the services to stop; return the supervisor's exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def run_aimq(environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one `aimq` command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "aimq", *arguments],
        env=dict(environ), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def wait_ready(process: subprocess.Popen[bytes], *urls: str, probe: str = "ready") -> None:
    """Return once every service answers its probe: that of readiness, or of life."""
    deadline = time.monotonic() + PATIENCE
    for url in urls:
        while not answers(f"{url}/health/{probe}"):
            if process.poll() is not None:
                raise RuntimeError(f"the services ended with {process.returncode}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} is not ready")
            time.sleep(0.05)


def get(url: str) -> httpx.Response:
    """GET on loopback.

    `httpx.get` would read all certificates first: whoever asks with it until a service has started
    takes a third of a core away from the start.
    """
    with httpx.Client(verify=False, timeout=30) as http:
        return http.get(url)


def answers(url: str) -> bool:
    """Tell whether a probe answers 200."""
    with contextlib.suppress(httpx.TransportError):
        return get(url).is_success
    return False


@contextlib.contextmanager
def running(environ: Mapping[str, str], *, models: bool = True) -> Iterator[System]:
    """Run `aimq up` for the length of a ``with`` block, ready when it begins.

    Without models only the interface can be, but for what it calls.
    """
    process = subprocess.Popen([sys.executable, "-m", "aimq", "up"], env=dict(environ), cwd=ROOT)
    system = System(environ, process)
    try:
        if models:
            wait_ready(process, system.ml_url, system.metrics_url, system.url)
        else:
            wait_ready(process, system.url, probe="live")
        yield system
    finally:
        if process.poll() is None:
            system.stop()
