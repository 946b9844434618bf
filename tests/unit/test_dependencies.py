"""What pyproject.toml declares is what the code imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = {"aimq", "interface", "batch_processor", "ml_service", "etl"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Needed and not imported by us: who loads it, and what for.
NOT_IMPORTED = {
    "fastapi-offline": "its files are served under /docs",
    "hiredis": "redis: fast parser",
    "s3fs": "fsspec: s3:// addresses",
    "setuptools": "redisai imports its pkg_resources",
    "uvloop": "uvicorn: fast event loop",
    "websockets": "uvicorn: WebSockets",
}


def name_of(requirement: str) -> str:
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0].lower()


DECLARED = {name_of(requirement) for requirement in PROJECT["dependencies"]}
EXTRAS = {name_of(r) for group in PROJECT["optional-dependencies"].values() for r in group}


def imported() -> set[str]:
    """Return the distributions that modules of the product import."""
    modules: set[str] = set()
    for path in (path for package in OURS for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.partition(".")[0])
    modules -= OURS | set(sys.stdlib_module_names)
    known = packages_distributions()
    return {known[module][0].lower().replace("_", "-") for module in modules}


def test_every_declared_package_is_imported_or_loaded_by_a_named_one():
    assert (DECLARED | EXTRAS) - NOT_IMPORTED.keys() <= imported()


def test_every_imported_package_is_declared():
    assert imported() <= DECLARED | EXTRAS


def test_what_others_load_is_declared_and_not_imported():
    assert NOT_IMPORTED.keys() <= DECLARED | EXTRAS
    assert not NOT_IMPORTED.keys() & imported()


def test_every_declaration_says_what_it_is_for():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match(r'\s+"[a-z0-9-]+.*"(,|$)', line)]
    unexplained = [name for name in DECLARED if not any(
        line.strip().startswith(f'"{name}') and "# " in line for line in lines
    )]  # fmt: skip
    assert unexplained == []
