"""The whole way: extract, clean, encode, train, evaluate, export, check, publish."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import tomli_w
from rich.console import Console

from aimq.errors import Invalid, NotFound
from aimq.published import Manifest
from aimq.schema import Schema, load_schema
from aimq.settings import Settings
from etl.clean import Cleaned, clean
from etl.evaluate import baseline, score
from etl.export import check_parity, to_onnx, to_pickle
from etl.extract import extract
from etl.generate import ROWS, SEED, generate
from etl.publish import Staging, check_names, stage
from etl.report import GroupReport, progress_of, show
from etl.train import split, train

SCHEMAS: Final = Path(__file__).parent / "schemas"
#: Fewest clean rows of a group that are worth a model.
MIN_ROWS: Final = 20
_PACKAGES: Final = ("numpy", "onnx", "scikit-learn", "skl2onnx")


class Options(NamedTuple):
    """How to train; see `run`."""

    trees: int
    leaf: int
    seed: int
    rows: int
    held_out: float
    jobs: int

    def checked(self) -> Options:
        """Return these options. Raises `Invalid` for one that makes no sense."""
        for name in ("trees", "leaf", "rows"):
            if getattr(self, name) < 1:
                raise Invalid(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not 0 < self.held_out < 1:
            raise Invalid(f"held_out must lie between 0 and 1, not be {self.held_out}.")
        return self


def run(
    settings: Settings,
    *,
    source: Path | None = None,
    schema: Path | None = None,
    trees: int = 100,
    leaf: int = 5,
    seed: int = SEED,
    rows: int = ROWS,
    held_out: float = 0.2,
    jobs: int = 0,
    console: Console | None = None,
) -> Manifest:
    """Train a model per group and publish them as one version.

    Args:
        source: table to learn from, CSV or Excel; the synthetic one by default.
        schema: a ``schema.toml``; the built-in one called ``settings.model_name`` by default.
        trees: per group.
        leaf: fewest training rows in a leaf; 5 instead of 1 costs 0.003 of R² and saves six
            sevenths of the size and four fifths of the training time.
        seed: of forest, split and synthetic data.
        rows: of the synthetic data.
        held_out: share of the rows kept for the evaluation.
        jobs: threads; 0: one per core.
        console: where progress and the closing report go; standard output by default.

    Raises:
        ClientError: the table cannot be read, lacks columns, or has too few clean rows of a group.
        ModelRefused: the schema is wrong, or ONNX and pickle do not answer alike.
        FilesUnavailable: the models' folder cannot be written.

    Nothing is published then; the earlier version stays in service.
    """
    started = time.monotonic()
    options = Options(trees, leaf, seed, rows, held_out, jobs).checked()
    console = console or Console()
    described = load_schema(schema or _built_in(settings.model_name))
    check_names(described)
    raw, data = _raw(described, source, options)
    cleaned = clean(described, raw)
    _check_rows(described, cleaned)
    with stage(settings.models_dir, described.name) as staging:
        reports = _train_groups(cleaned, staging, options, console)
        staging.write("schema.toml", tomli_w.dumps(dict(described.source)).encode())
        staging.write("encoder.json", _json(described.encoder()))
        staging.write("metrics.json", _json({"rows": cleaned.account, "groups": reports}))
        manifest = staging.publish(
            _manifest(described, data, options), datetime.now(UTC), settings.keep_versions
        )
    show(console, manifest, cleaned.account, reports)
    where = settings.models_dir / manifest.name / manifest.version
    console.print(
        f"Published {where} in {time.monotonic() - started:.0f} s", markup=False, soft_wrap=True
    )
    if manifest.name != settings.model_name:
        console.print(f"To serve it, set AIMQ_MODEL_NAME={manifest.name}", markup=False)
    return manifest


def _built_in(name: str) -> Path:
    path = SCHEMAS / f"{name}.toml"
    if not path.is_file():
        built_in = ", ".join(sorted(file.stem for file in SCHEMAS.glob("*.toml")))
        raise NotFound(f"No built-in schema {name!r} (there is {built_in}): give one of your own.")
    return path


def _raw(schema: Schema, source: Path | None, options: Options) -> tuple[pd.DataFrame, str]:
    if source is not None:
        raw = extract(source)
        return raw, f"table {source.name}, {len(raw):,} rows"
    if schema != load_schema(SCHEMAS / "used_cars.toml"):
        raise Invalid("Synthetic data fit the built-in schema used_cars only: give a table too.")
    raw = generate(schema, options.rows, options.seed)
    return raw, f"synthetic (etl.generate, seed {options.seed}), {len(raw):,} rows; no real sales"


def _check_rows(schema: Schema, cleaned: Cleaned) -> None:
    counts = np.bincount(cleaned.columns.groups, minlength=len(schema.groups))
    short = [
        f"{group} has {count}"
        for group, count in zip(schema.groups, counts, strict=True)
        if count < MIN_ROWS
    ]
    if short:
        reasons = "; ".join(f"{n} {reason}" for reason, n in cleaned.account.dropped.most_common())
        raise Invalid(
            f"Each {schema.group} needs {MIN_ROWS} clean rows to learn from: {', '.join(short)}. "
            f"Rows dropped: {reasons or 'none'}."
        )


def _train_groups(
    cleaned: Cleaned, staging: Staging, options: Options, console: Console
) -> dict[str, GroupReport]:
    schema = cleaned.columns.schema
    with progress_of(console, schema.groups, options.trees) as progress:
        return {
            group: _train_group(cleaned, index, staging, options, partial(progress, group))
            for index, group in enumerate(schema.groups)
        }


def _train_group(
    cleaned: Cleaned,
    index: int,
    staging: Staging,
    options: Options,
    progress: Callable[[int], None],
) -> GroupReport:
    group = cleaned.columns.schema.groups[index]
    rows = cleaned.columns.groups == index
    matrix, target = cleaned.columns.matrix(rows), cleaned.target[rows]
    seen, unseen = split(len(matrix), options.held_out, options.seed)
    forest = train(
        matrix[seen],
        target[seen],
        trees=options.trees,
        leaf=options.leaf,
        seed=options.seed,
        jobs=options.jobs or os.cpu_count() or 1,
        progress=progress,
    )
    onnx, pickled = to_onnx(forest, matrix.shape[1]), to_pickle(forest)
    parity = check_parity(onnx, pickled, matrix[unseen])
    return GroupReport(
        rows_trained=len(seen),
        rows_held_out=len(unseen),
        model=score(target[unseen], forest.predict(matrix[unseen])),
        baseline=baseline(target[seen], target[unseen]),
        parity=parity,
        onnx_bytes=staging.write(f"{group}.onnx", onnx),
        pickle_bytes=staging.write(f"{group}.pkl", pickled),
    )


def _manifest(schema: Schema, data: str, options: Options) -> Manifest:
    return Manifest(
        name=schema.name,
        version="",
        groups=list(schema.groups),
        files={},
        created_at="",
        data=data,
        settings={
            "trees": options.trees,
            "leaf": options.leaf,
            "seed": options.seed,
            "held_out": options.held_out,
        },
        packages={name: version(name) for name in _PACKAGES},
    )


def _json(content: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content))
