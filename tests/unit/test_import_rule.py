"""Dependencies point one way: services may import `aimq`; nothing else crosses."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("interface", "batch_processor", "ml_service", "etl")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("package", ["aimq", *SERVICES])
def test_a_package_imports_no_service_but_itself(package):
    files = sorted((ROOT / package).rglob("*.py"))
    forbidden = set(SERVICES) - {package}
    crossings = [
        f"{f.relative_to(ROOT)}: {n}" for f in files for n in imported(f) if n in forbidden
    ]
    assert files
    assert crossings == []
