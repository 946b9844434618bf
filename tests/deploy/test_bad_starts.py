"""Wrong or missing surroundings: one line says what; the service is not ready, and goes on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from aimq.published import MANIFEST
from tests.system import PATIENCE, ROOT, environment, free_ports, get, run_aimq

SAMPLE = ROOT / "assets" / "sample_files" / "1000_rows.xlsx"
PRODUCTION = {"AIMQ_ENVIRONMENT": "production"}
NOBODY = free_ports(1)[0]
RABBIT_AWAY = {"AIMQ_BROKER_URL": f"amqp://a:b@127.0.0.1:{NOBODY}/"}
REDIS_AWAY = {"AIMQ_STORE_URL": f"redis://127.0.0.1:{NOBODY}/0"}
SETTING = {
    "interface": "AIMQ_INTERFACE_PORT",
    "ml-service": "AIMQ_ML_PORT",
    "batch-processor": "AIMQ_METRICS_PORT",
}


@pytest.fixture
def environ(tmp_path):
    return environment(tmp_path / "data", tmp_path / "models")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (PRODUCTION | {"AIMQ_API_KEYS": "change-me-api-key"}, "AIMQ_API_KEYS still holds"),
        (PRODUCTION | {"AIMQ_STORE_URL": "redis://:change-me@h/0"}, "AIMQ_STORE_URL still holds"),
        (PRODUCTION | {"AIMQ_API_KEYS": "key"}, "AIMQ_INTERNAL_TOKEN is not set"),
        ({"AIMQ_INTERFACE_HOST": "0.0.0.0"}, "without an API key is refused"),
        ({"AIMQ_INTERFACE_PROT": "1"}, "did you mean AIMQ_INTERFACE_PORT?"),
        ({"AIMQ_MAX_ROWS": "many"}, "AIMQ_MAX_ROWS"),
        ({"AIMQ_BROKER_URL": "carrier-pigeon://loft"}, "carrier-pigeon"),
        ({"AIMQ_STORE_URL": "carrier-pigeon://loft"}, "carrier-pigeon"),
        ({"AIMQ_FILES_URL": "carrier-pigeon://loft"}, "carrier-pigeon"),
        ({"AIMQ_ML_URL": "no address"}, "AIMQ_ML_URL"),
        ({"AIMQ_QUEUE_BOUND": "30"}, "AIMQ_QUEUE_BOUND is not a setting"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_one_line(environ, more, said):
    done = run_aimq(environ | more, "interface")
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "secret" not in done.stderr or "change-me" not in done.stderr


class Service:
    """A service that has been started, and what it says."""

    def __init__(self, process, url, log):
        self.process = process
        self.url = url
        self._log = log

    @property
    def lines(self):
        return self._log.read_text().splitlines()

    def readiness(self):
        return get(f"{self.url}/health/ready")

    def wait(self, true):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if true(self):
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.lines
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)


@pytest.fixture
def started(environ, tmp_path):
    @contextmanager
    def start(name, **more):
        log = tmp_path / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "aimq", name], env=environ | more, cwd=ROOT, stderr=output
            )
        try:
            yield Service(process, f"http://127.0.0.1:{environ[SETTING[name]]}", log)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(PATIENCE)
        assert code == 0

    return start


def alive(service):
    return get(f"{service.url}/health/live").is_success


@pytest.mark.parametrize(
    ("name", "more", "problem", "said"),
    [
        ("ml-service", {}, "models", "model"),
        ("batch-processor", RABBIT_AWAY, "broker", "RabbitMQ"),
        ("batch-processor", REDIS_AWAY, "store", "Redis"),
        ("batch-processor", {}, "ml_service", "ML service cannot be reached"),
        ("interface", REDIS_AWAY, "store", "Redis"),
    ],
)  # fmt: skip
def test_what_is_away_is_named_and_waited_for(started, environ, name, more, problem, said):
    if problem == "ml_service":  # where nothing is published there is nothing to wait for
        version = Path(environ["AIMQ_MODELS_DIR"]) / "used_cars" / "20260101T000000Z"
        version.mkdir(parents=True)
        (version / MANIFEST).touch()
    with started(name, **more) as service:
        service.wait(alive)
        answer = service.readiness()
        assert answer.status_code == 503
        assert said in answer.json()["problems"][problem]
        service.wait(lambda s: any(said in line for line in s.lines))
        assert not any("Traceback" in line for line in service.lines)
        # It says so once, not at every look.
        assert len(service.lines) < 10
        assert alive(service)


def test_the_door_stays_open_while_the_broker_is_away_and_says_so(started):
    with started("interface", **RABBIT_AWAY) as service:
        service.wait(lambda s: s.readiness().is_success)
        service.wait(lambda s: "RabbitMQ" in s.readiness().json()["broker"])
        with SAMPLE.open("rb") as stream:
            answer = httpx.post(f"{service.url}/upload", files={"file": stream}, timeout=30)
        assert answer.status_code == 202


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_to_the_client_and_is_not_ready(started, small_disk):
    with started("interface", AIMQ_DATA_DIR=str(small_disk)) as service:
        service.wait(lambda s: s.readiness().is_success)
        ballast = small_disk / "ballast"
        free = shutil.disk_usage(small_disk).free
        ballast.write_bytes(bytes(free))
        with SAMPLE.open("rb") as stream:
            answer = httpx.post(f"{service.url}/upload", files={"file": stream}, timeout=30)
        assert answer.status_code == 503, answer.text
        assert "free some space" in answer.json()["detail"]
        service.wait(lambda s: s.readiness().status_code == 503)
        assert "free some space" in str(service.readiness().json()["problems"])
        ballast.unlink()
        service.wait(lambda s: s.readiness().is_success)
        with SAMPLE.open("rb") as stream:
            answer = httpx.post(f"{service.url}/upload", files={"file": stream}, timeout=30)
        assert answer.status_code == 202
