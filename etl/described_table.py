"""The table to learn from, with its schema: one that is given, inferred, or built in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pandas as pd

from aimq.errors import Invalid, ModelRefused, NotFound
from aimq.schema import Schema, Task, load_schema
from aimq.schema.model import fold, parse_schema
from etl.extract import extract
from etl.generate import generate
from etl.infer import infer

SCHEMAS: Final = Path(__file__).parent / "schemas"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a model is asked for of which table; see `etl.pipeline.run`."""

    source: Path | None = None
    schema: Path | None = None
    target: str | None = None
    group: str | None = None
    name: str | None = None
    task: Task | None = None


@dataclass(frozen=True, slots=True)
class DescribedTable:
    """A raw table and how it is read.

    Attributes:
        data: where the table came from, in words.
        inferred: the schema was inferred.
        left_out: column to the reason why it is no feature.
        notes: what a person should know, one sentence each.
    """

    schema: Schema
    raw: pd.DataFrame
    data: str
    inferred: bool = False
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_table(question: Question, default: str, rows: int, seed: int) -> DescribedTable:
    """Read or make the table that a question is about, with its schema.

    Args:
        default: name of the built-in schema of the synthetic table.
        rows: of the synthetic table.
        seed: of the synthetic table.

    Raises:
        ClientError: the file or the schema is not there or cannot be read, or they do not go with
            what is asked; says what to do.
    """
    if question.source is not None and question.schema is None:
        return _inferred(question, question.source)
    schema = _chosen(question, question.schema or _built_in(default))
    if question.source is not None:
        raw = extract(question.source)
        left_out = _unused(schema, raw)
        return DescribedTable(schema, raw, _words(question.source, raw), left_out=left_out)
    if schema != load_schema(SCHEMAS / "used_cars.toml"):
        raise Invalid("Synthetic data fit the built-in schema used_cars only: give a table too.")
    raw = generate(schema, rows, seed)
    data = f"synthetic (etl.generate, seed {seed}), {len(raw):,} rows; no real sales"
    return DescribedTable(schema, raw, data)


def _inferred(question: Question, source: Path) -> DescribedTable:
    raw = extract(source)
    if question.target is None:
        raise Invalid(
            "Choose the column to predict with --target, or describe the table with --schema. The "
            f"columns are {', '.join(map(str, raw.columns))}."
        )
    found = infer(
        raw,
        target=question.target,
        group=question.group,
        name=question.name or model_name(source),
        task=question.task,
    )
    schema = _parsed(found.source)
    return DescribedTable(schema, raw, _words(source, raw), True, found.left_out, found.notes)


def model_name(source: Path) -> str:
    """Return the name of a file's model: its stem in small letters, digits and underscores.

    Raises:
        Invalid: nothing is left of it.
    """
    name = re.sub(r"[^a-z0-9]+", "_", source.stem.lower()).strip("_")[:64]
    if not name:
        raise Invalid(f"{source.name} gives the model no name: choose one with --name.")
    return name


def given_schema(path: Path) -> Schema:
    """Read a schema that a person wrote. Raises `Invalid` if it is nonsense; says where."""
    try:
        return load_schema(path)
    except ModelRefused as exc:
        raise Invalid(exc.detail) from exc


def _chosen(question: Question, path: Path) -> Schema:
    """Return the schema of a file, under the name that is asked for.

    Raises:
        Invalid: it is nonsense, or contradicts what is asked.
    """
    schema = given_schema(path)
    says = {"target": schema.target, "group": schema.group or "", "task": schema.task}
    for option, said in says.items():
        asked = getattr(question, option)
        if asked is not None and fold(asked) != fold(said):
            raise Invalid(f"{path} says {option} {said!r}, --{option} {asked!r}: change either.")
    if question.name is None:
        return schema
    return _parsed({**schema.source, "name": question.name})


def _parsed(source: dict[str, object]) -> Schema:
    try:
        return parse_schema(source)
    except ModelRefused as exc:
        raise Invalid(exc.detail) from exc


def _built_in(name: str) -> Path:
    path = SCHEMAS / f"{name}.toml"
    if not path.is_file():
        built_in = ", ".join(sorted(file.stem for file in SCHEMAS.glob("*.toml")))
        raise NotFound(f"No built-in schema {name!r} (there is {built_in}): give one of your own.")
    return path


def _words(source: Path, raw: pd.DataFrame) -> str:
    return f"table {source.name}, {len(raw):,} rows"


def _unused(schema: Schema, raw: pd.DataFrame) -> dict[str, str]:
    used = {fold(name) for name in (*schema.columns, schema.target)}
    return {str(name): "not in the schema" for name in raw.columns if fold(str(name)) not in used}
