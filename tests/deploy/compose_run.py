"""The compose file with a real engine: `make test-compose` builds the image and runs everything.

Not part of `make test`: it needs Docker, and the ports 8080, 5001 and 15672. With ``STAND_INS=1``
the base images are made from Debian's packages (``tests/deploy/stand-ins``), for a machine that
reaches no image registry; RedisAI is left out then, and the ML service does the inference itself.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import openpyxl
import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "assets" / "sample_files" / "1000_rows.xlsx"
#: Longest wait for anything, in seconds.
PATIENCE = 600.0
KEY = secrets.token_hex(16)
RECORD = {
    "model_group": "A", "model": 180, "kilometers": 5000, "fuel_type": "Diesel",
    "gear_type": "Manual", "vehicle_type": "Sedan Car", "age_in_months": 12, "color": "Black",
    "line": "Sportline", "doors": "4 to 5", "seats": "1 to 3", "climate": "Air Conditioning",
}  # fmt: skip

pytestmark = pytest.mark.timeout(1800)


def docker() -> str:
    return os.environ.get("DOCKER", "docker")


def compose_command() -> list[str]:
    """Return the plugin where there is one, else the program it replaced."""
    plugin = [docker(), "compose"]
    probe = subprocess.run([*plugin, "version"], capture_output=True, check=False)
    if probe.returncode == 0:
        return plugin
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.fail("Neither `docker compose` nor `docker-compose` is installed.")


class Project:
    """One run of the compose file under a project name and an environment file of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._env = folder / "compose.env"
        self._command = [
            *compose_command(), "--env-file", str(self._env), "--project-name", name,
            "--project-directory", str(ROOT), "--file", str(ROOT / "docker-compose.yml"),
        ]  # fmt: skip
        values = {
            "AIMQ_ENVIRONMENT": "production",
            "AIMQ_API_KEYS": KEY,
            "AIMQ_INTERNAL_TOKEN": secrets.token_hex(16),
            "RABBITMQ_PASSWORD": secrets.token_hex(16),
            "REDIS_PASSWORD": secrets.token_hex(16),
            "IMAGE_TAG": "test",
            "COMPOSE_PROFILES": "redisai",
            "AIMQ_REDISAI_URL": "redis://redisai:6379/0",
        }
        if os.environ.get("STAND_INS") == "1":
            subprocess.run([ROOT / "tests" / "deploy" / "stand-ins"], check=True)
            values |= {
                "PYTHON_IMAGE": "aimq-stand-in/python",
                "RABBITMQ_IMAGE": "aimq-stand-in/rabbitmq",
                "REDIS_IMAGE": "aimq-stand-in/redis",
                "COMPOSE_PROFILES": "",
                "AIMQ_REDISAI_URL": "",
            }
        self.said = ""
        self.rabbitmq_password = values["RABBITMQ_PASSWORD"]
        self.python_image = values.get("PYTHON_IMAGE", "")
        self._env.write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    def compose(self, *arguments: str) -> str:
        """Run one command of compose; return its standard output. Its errors go to `said`."""
        done = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"compose {arguments}: {done.stdout}{done.stderr}"
        self.said = done.stderr
        return done.stdout

    def up(self, *more: str) -> None:
        """Start what does not run, and wait until the front door is ready."""
        self.compose("up", "--detach", "--no-build", *more)
        assert "pull access denied" not in self.said
        assert "Error" not in self.said
        wait_for(ready)

    def health(self, service: str) -> str:
        """Return what the engine says of a service's first container."""
        [container, *_] = self.containers(service)
        command = [docker(), "inspect", "--format", "{{.State.Health.Status}}", container]
        return subprocess.check_output(command, text=True).strip()

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers."""
        return self.compose("ps", "--quiet", service).split()


def ready() -> bool:
    try:
        answer = httpx.get("http://127.0.0.1:8080/health/ready", timeout=10)
    except httpx.TransportError:
        return False
    return answer.is_success and answer.json()["ml_service"] == "up"


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("compose"), f"aimq-test-{secrets.token_hex(3)}")
    build = ["--build-arg", f"PYTHON_IMAGE={project.python_image}"] if project.python_image else []
    subprocess.run(
        [docker(), "build", "--network", "host", *build, "--tag", "aimq:test", str(ROOT)],
        check=True,
    )
    try:
        project.up()
        yield project
    finally:
        project.compose("down", "--volumes", "--timeout", "40")


@pytest.fixture
def door() -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url="http://127.0.0.1:8080", headers={"X-API-Key": KEY}, timeout=60
    ) as door:
        yield door


def upload(door: httpx.Client) -> str:
    with SAMPLE.open("rb") as stream:
        answer = door.post("/upload", files={"file": (SAMPLE.name, stream)})
    assert answer.status_code == 202, answer.text
    return answer.json()["job_id"]


def status(door: httpx.Client, job: str) -> str:
    return door.get(f"/jobs/{job}").json()["status"]


def finished(door: httpx.Client, *jobs: str) -> None:
    wait_for(lambda: all(status(door, job) in {"done", "failed", "cancelled"} for job in jobs))
    assert [status(door, job) for job in jobs] == ["done"] * len(jobs)


def check_result(door: httpx.Client, job: str, folder: Path) -> None:
    target = folder / f"{job}.xlsx"
    target.write_bytes(door.get(f"/jobs/{job}/result").raise_for_status().content)
    header, *rows = openpyxl.load_workbook(target).worksheets[0].iter_rows(values_only=True)
    assert list(header[-2:]) == ["predicted_price", "error"]
    assert len(rows) == 1000
    assert all(row[-2] > 0 and row[-1] is None for row in rows)


def test_the_image_is_small_unprivileged_and_has_no_tools_in_it(project):
    size = subprocess.check_output(
        [docker(), "image", "inspect", "--format", "{{.Size}}", "aimq:test"], text=True
    )
    assert int(size) < 900_000_000
    look = (
        "id -u; command -v gcc cc make pip pip3; find /opt/aimq -type d -name tests;"
        "python -m pip --version 2>/dev/null; touch /opt/aimq/x /etc/x 2>/dev/null && echo writable"
    )
    run = [docker(), "run", "--rm", "--network", "none", "--entrypoint", "sh"]
    seen = subprocess.run(
        [*run, "aimq:test", "-c", look],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert seen.stdout.split() == ["10001"], seen.stdout


def test_the_sample_comes_back_scored(project, door, tmp_path):
    job = upload(door)
    finished(door, job)
    check_result(door, job, tmp_path)


def test_stores_and_queue_cannot_be_reached_from_the_host(project):
    for port in (5672, 6379, 9102):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}", timeout=5)


def test_three_batch_processors_share_the_work(project, door):
    project.up("--scale", "batch-processor=3")
    assert len(project.containers("batch-processor")) == 3
    jobs = [upload(door) for _ in range(12)]
    finished(door, *jobs)


def test_a_restart_of_the_queue_in_the_middle_loses_nothing(project, door, tmp_path):
    before = [upload(door) for _ in range(6)]
    restart = subprocess.Popen([docker(), "restart", *project.containers("rabbitmq")])
    during = [upload(door) for _ in range(6)]
    assert restart.wait(PATIENCE) == 0
    after = [upload(door) for _ in range(6)]
    finished(door, *before, *during, *after)
    check_result(door, during[-1], tmp_path)


def test_down_and_up_again_keeps_jobs_and_files(project, door, tmp_path):
    jobs = [upload(door) for _ in range(4)]  # some done, some queued when it goes down
    project.compose("down", "--timeout", "40")
    project.up()
    finished(door, *jobs)
    check_result(door, jobs[0], tmp_path)


def rows_predicted() -> float:
    text = httpx.get("http://127.0.0.1:5001/metrics", headers={"X-API-Key": KEY}).text
    counts = [line.split() for line in text.splitlines() if line.startswith("aimq_ml_rows_total{")]
    return sum(float(count) for _, count in counts)


def test_the_rows_of_a_spreadsheet_are_counted(project, door):
    before = rows_predicted()
    finished(door, upload(door))
    assert rows_predicted() == before + 1000


def change_password(project, password: str) -> None:
    [rabbitmq] = project.containers("rabbitmq")
    command = [docker(), "exec", rabbitmq, "rabbitmqctl", "change_password", "aimq", password]
    subprocess.run(command, check=True, capture_output=True)


def test_a_password_that_the_queue_refuses_shows_and_a_right_one_recovers(project, door):
    change_password(project, "another-one")
    project.compose("restart", "batch-processor")
    try:
        wait_for(lambda: project.health("batch-processor") == "unhealthy")
        job = upload(door)
    finally:
        change_password(project, project.rabbitmq_password)
    wait_for(lambda: project.health("batch-processor") == "healthy")
    finished(door, job)


def test_one_record_is_predicted_without_the_store_and_without_the_queue(project, door):
    project.compose("stop", "redis", "rabbitmq")
    try:
        answer = door.post("/predict", json=RECORD)
        assert answer.status_code == 200, answer.text
        assert ready()
    finally:
        project.up()


def test_nothing_starts_without_secrets_and_no_volume_is_made(tmp_path):
    env = tmp_path / "empty.env"
    env.write_text((ROOT / ".env.example").read_text())
    name = f"aimq-test-{secrets.token_hex(3)}"
    done = subprocess.run(
        [*compose_command(), "--env-file", env, "--project-name", name, "up", "--detach"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "deploy/env" in done.stderr
    volumes = [docker(), "volume", "ls", "--quiet", "--filter", f"name={name}"]
    assert subprocess.check_output(volumes, text=True) == ""
