"""No module reaches for an underscore name that is not its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("aimq", "interface", "batch_processor", "ml_service", "etl")
MODULES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))


#: Documented parts of the standard library that begin with an underscore all the same.
PUBLIC = {"_exit"}


def is_private(name: str) -> bool:
    return (
        name not in PUBLIC
        and name.startswith("_")
        and not (name.startswith("__") and name.endswith("__"))
    )


def defined(tree: ast.AST) -> set[str]:
    """Return the names that a module defines: functions, classes, variables and attributes."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                names.add(name)
    return names


def touched(tree: ast.AST) -> Iterator[str]:
    """Yield the private names that a module imports or takes from objects."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from (a.name for a in aliases if any(map(is_private, a.name.split("."))))
            case ast.ImportFrom(module=module, names=aliases):
                names = [*(module or "").split("."), *(alias.name for alias in aliases)]
                yield from filter(is_private, names)
            case ast.Attribute(attr=name) if is_private(name):
                yield name
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, name, *_]):
                if isinstance(name, ast.Constant) and is_private(str(name.value)):
                    yield str(name.value)


def foreign(source: str) -> set[str]:
    tree = ast.parse(source)
    return set(touched(tree)) - defined(tree)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_touches_no_private_name_but_its_own(path):
    assert foreign(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import redis._parsers",
        "from uvicorn.protocols import _cycle",
        "from pika import _x as x",
        "connection._writer.close()",
        "getattr(connection, '_writer')",
    ],
)
def test_a_private_name_of_somebody_else_is_found(source):
    assert foreign(source)


def test_names_of_the_module_itself_are_no_finding():
    assert not foreign("class A:\n    def __init__(self): self._x = 1\n\ndef f(a: A): return a._x")
