"""The pinned packages can be installed where the documentation says so, from wheels alone."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
#: What only training and the pickle baseline need.
TRAINING = {"scikit-learn", "scipy", "skl2onnx", "onnx", "joblib"}


def pinned(lock):
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([\w.]+)", text, re.M))


def installable(lock, python, platform):
    command = [
        Path(sys.executable).with_name("uv"), "pip", "install", "--dry-run", "--no-deps",
        "--only-binary", ":all:", "--require-hashes", "--python-version", python,
        "--python-platform", platform, "--target", "nowhere",
        "--requirements", f"requirements/{lock}.lock",
    ]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("python", PYTHONS)
def test_every_pinned_package_has_a_wheel_for_every_python(python):
    done = installable("dev", python, "x86_64-manylinux_2_28")
    if "Failed to fetch" in done.stderr or "dns error" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("lock", ["deploy", "slim"])
def test_the_image_can_be_built_for_arm64_too(lock):
    done = installable(lock, "3.12", "aarch64-manylinux_2_28")
    if "Failed to fetch" in done.stderr or "dns error" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr


def test_what_is_documented_and_declared_is_what_is_checked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11,<3.15"
    assert "Python 3.11 to 3.14" in (ROOT / "README.md").read_text()
    assert "Python 3.11 to 3.14" in (ROOT / "Makefile").read_text()


def test_the_slim_image_has_the_versions_of_the_other_and_nothing_to_train_with():
    slim, deploy = pinned("slim"), pinned("deploy")
    assert slim.items() <= deploy.items()
    assert not TRAINING & slim.keys()
    assert deploy.keys() >= TRAINING


def test_no_lock_names_the_host_of_a_registry():
    for lock in (ROOT / "requirements").glob("*.lock"):
        assert "://" not in lock.read_text(), lock.name
