"""The manifests on a real cluster: `make test-k8s` applies them and scores the sample.

Not part of `make test`: it needs a cluster that the current context of kubectl names, of which it
takes the namespace `aimq`, and in which the image is loaded (docs/deploy.md says how). What it made
is deleted at the end; where the namespace is there already, it refuses to begin.
"""

from __future__ import annotations

import base64
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.deploy.compose_run import RECORD, check_result, finished, upload, wait_for
from tests.deploy.manifests import add_secrets, copy, kubectl

NAMESPACE = "aimq"
DEPLOYMENTS = ("redisai", "ml-service", "batch-processor", "interface")
pytestmark = pytest.mark.timeout(1800)


def run(*arguments: str) -> str:
    done = subprocess.run([kubectl(), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"kubectl {arguments}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    probe = subprocess.run(
        [kubectl(), "--request-timeout=10s", "get", "--raw", "/readyz"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if probe.returncode != 0:
        pytest.fail(f"No cluster answers: {probe.stderr.strip().splitlines()[-1]}", pytrace=False)
    there = run("get", "namespace", NAMESPACE, "--ignore-not-found", "--output", "name")
    if there:
        pytest.fail(f"The namespace {NAMESPACE} is in use; delete it first.", pytrace=False)
    k8s = copy(tmp_path_factory.mktemp("cluster"))
    add_secrets(k8s)
    try:
        run("apply", "--kustomize", str(k8s))
        run("-n", NAMESPACE, "wait", "--for=condition=complete", "--timeout=600s", "job/etl")
        for name in DEPLOYMENTS:
            run("-n", NAMESPACE, "rollout", "status", "--timeout=600s", f"deployment/{name}")
        yield
    finally:
        run("delete", "namespace", NAMESPACE, "--timeout=300s")


@pytest.fixture
def door(cluster: None) -> Iterator[httpx.Client]:
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        port = sock.getsockname()[1]
    forward = subprocess.Popen(
        [kubectl(), "-n", NAMESPACE, "port-forward", "service/interface", f"{port}:8080"],
        stdout=subprocess.DEVNULL,
    )
    key = run(
        "-n", NAMESPACE, "get", "secret", "-l", "app.kubernetes.io/part-of=aimq",
        "--output", "jsonpath={.items[*].data.AIMQ_API_KEYS}",
    )  # fmt: skip
    headers = {"X-API-Key": base64.b64decode(key).decode()}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as http:
            wait_until_open(http)
            yield http
    finally:
        forward.terminate()
        forward.wait(30)


def wait_until_open(http: httpx.Client) -> None:
    def open_() -> bool:
        try:
            return http.get("/health/ready").is_success
        except httpx.TransportError:
            return False

    wait_for(open_)


def test_the_sample_comes_back_scored(door: httpx.Client, tmp_path: Path) -> None:
    job = upload(door)
    finished(door, job)
    check_result(door, job, tmp_path)


def test_a_rollout_in_the_middle_loses_nothing(door: httpx.Client) -> None:
    jobs = [upload(door) for _ in range(5)]
    for name in ("ml-service", "batch-processor"):
        run("-n", NAMESPACE, "rollout", "restart", f"deployment/{name}")
    jobs += [upload(door) for _ in range(5)]
    finished(door, *jobs)


def test_one_record_is_predicted_without_the_store_and_without_the_queue(
    door: httpx.Client,
) -> None:
    for name in ("redis", "rabbitmq"):
        run("-n", NAMESPACE, "scale", "--replicas=0", f"statefulset/{name}")
        run("-n", NAMESPACE, "wait", "--for=delete", "--timeout=120s", f"pod/{name}-0")
    try:
        assert door.post("/predict", json=RECORD).status_code == 200
        assert door.get("/health/ready").is_success
    finally:
        for name in ("redis", "rabbitmq"):
            run("-n", NAMESPACE, "scale", "--replicas=1", f"statefulset/{name}")
            run("-n", NAMESPACE, "rollout", "status", "--timeout=300s", f"statefulset/{name}")
    job = upload(door)
    finished(door, job)
