"""No module imports an underscore name of a library; the linter (SLF) forbids to access one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("aimq", "batch_processor", "etl", "interface", "ml_service")
MODULES = [path for room in OURS for path in sorted((ROOT / room).rglob("*.py"))]


def private_imports(source: str) -> list[str]:
    """Return what a module imports whose name, or a part of whose path, begins with `_`."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    foreign = [name for name in names if name.split(".")[0] not in {*OURS, "__future__"}]
    return [name for name in foreign if any(part.startswith("_") for part in name.split("."))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_underscore_name_of_a_library_is_imported(path):
    assert private_imports(path.read_text()) == []


def test_private_names_are_recognised():
    source = "import a._b\nfrom a import _c, d\nfrom a._e import f\nfrom aimq import _own\nimport g"
    assert private_imports(source) == ["a._b", "a._c", "a._e.f"]
