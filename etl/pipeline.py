"""The whole way: table and schema, clean, fit each group, check, publish."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import tomli_w
from rich.console import Console

from aimq.errors import Invalid
from aimq.profile import PROFILE, encode_profile
from aimq.published import REPORT, Manifest
from aimq.schema import Schema, Task
from aimq.settings import Settings
from etl import html_report
from etl.clean import clean
from etl.described_table import SCHEMAS, DescribedTable, Question, read_table
from etl.fit import Plan
from etl.fit_groups import check_rows, fit_groups
from etl.generate import ROWS, SEED
from etl.inference_table import show_inference
from etl.profile import build
from etl.publish import check_names, draft, stage
from etl.report import progress_of, show

__all__ = ["BUDGET", "SCHEMAS", "run"]

#: Seconds that a comparison of candidates is cut to.
BUDGET: Final = 60.0
_PACKAGES: Final = ("numpy", "onnx", "scikit-learn", "skl2onnx")


class Options(NamedTuple):
    """How to train; see `run`."""

    trees: int
    leaf: int
    seed: int
    rows: int
    held_out: float
    jobs: int
    budget: float
    compare: bool

    def checked(self) -> Options:
        """Return these options. Raises `Invalid` for one that makes no sense."""
        for name in ("trees", "leaf", "rows", "budget"):
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
    target: str | None = None,
    group: str | None = None,
    name: str | None = None,
    task: Task | None = None,
    trees: int = 100,
    leaf: int = 5,
    seed: int = SEED,
    rows: int = ROWS,
    held_out: float = 0.2,
    jobs: int = 0,
    budget: float = BUDGET,
    compare: bool | None = None,
    edit: Path | None = None,
    console: Console | None = None,
) -> Manifest:
    """Train a model per group and publish them as one version.

    Without a table the default model is trained: forests, from synthetic data. From a table the
    best of several candidates is chosen.

    Args:
        source: table to learn from, CSV, Excel or Parquet; the synthetic one by default.
        schema: a ``schema.toml``; by default inferred from the table, and without a table the
            built-in one called ``settings.model_name``.
        target: column to predict; needed where the schema is inferred.
        group: column whose values have a model each; none by default.
        name: of the model; the file's by default.
        task: to predict numbers or classes; by the target's values by default.
        trees: per forest.
        leaf: fewest training rows in a leaf; 5 instead of 1 costs 0.003 of R² and saves six
            sevenths of the size and four fifths of the training time.
        seed: of models, split and synthetic data.
        rows: of the synthetic data.
        held_out: share of the rows kept for the evaluation.
        jobs: threads; 0: ``settings.concurrency``.
        budget: seconds that the comparison of candidates is cut to.
        compare: choose among several kinds of model, else a forest; by default where there is a
            table.
        edit: folder that an inferred schema is written to, for a person to edit.
        console: where progress and the closing report go; standard output by default.

    Raises:
        ClientError: the table or the schema cannot be read, or does not hold what is needed to
            learn from; names the column and says what to do.
        ModelRefused: ONNX and pickle do not answer alike.
        FilesUnavailable: the models' folder cannot be written.

    Nothing is published then; the earlier version stays in service.
    """
    started = time.monotonic()
    jobs = jobs or settings.concurrency
    compare = source is not None if compare is None else compare
    options = Options(trees, leaf, seed, rows, held_out, jobs, budget, compare).checked()
    console = console or Console()
    question = Question(
        source=source, schema=schema, target=target, group=group, name=name, task=task
    )
    table = read_table(question, settings.model_name, rows, seed)
    check_names(table.schema)
    if table.inferred:
        show_inference(console, table, edit)
    manifest = _train(settings, table, options, console)
    where = settings.models_dir / manifest.name / manifest.version
    console.print(
        f"Published {where} in {time.monotonic() - started:.0f} s", markup=False, soft_wrap=True
    )
    console.print(f"Report: {where / REPORT}", markup=False, soft_wrap=True)
    if source is not None:
        console.print(f"It answers at POST /models/{manifest.name}/predict", markup=False)
    return manifest


def _train(
    settings: Settings, table: DescribedTable, options: Options, console: Console
) -> Manifest:
    schema = table.schema
    cleaned = clean(schema, table.raw)
    check_rows(cleaned)
    with stage(settings.models_dir, schema.name) as staging:
        with progress_of(console, schema.groups) as progress:
            groups = fit_groups(cleaned, _plan(schema, options), staging, progress)
        intervals = {name: fitted.intervals for name, fitted in groups.fitted.items()}
        profile = build(schema, cleaned.columns, groups.seen, intervals)
        metrics = {
            "rows": cleaned.account,
            "task": schema.task,
            "left_out": table.left_out,
            "groups": groups.reports,
        }
        staging.write("schema.toml", tomli_w.dumps(dict(schema.source)).encode())
        staging.write_json("encoder.json", schema.encoder())
        staging.write_json("metrics.json", metrics)
        staging.write(PROFILE, encode_profile(profile))
        report = html_report.write(
            cleaned, groups, data=table.data, left_out=table.left_out, notes=table.notes
        )
        staging.write(REPORT, report)
        manifest = staging.publish(
            _manifest(schema, table.data, options), datetime.now(UTC), settings.keep_versions
        )
    show(console, manifest, cleaned.account, groups.reports)
    return manifest


def _plan(schema: Schema, options: Options) -> Plan:
    return Plan(
        task=schema.task,
        classes=schema.classes,
        coded=schema.coded,
        seed=options.seed,
        held_out=options.held_out,
        jobs=options.jobs,
        trees=options.trees,
        leaf=options.leaf,
        compare=options.compare,
        budget=options.budget,
    )


def _manifest(schema: Schema, data: str, options: Options) -> Manifest:
    return msgspec.structs.replace(
        draft(schema, data),
        settings={
            "trees": options.trees,
            "leaf": options.leaf,
            "seed": options.seed,
            "held_out": options.held_out,
            **({"budget": options.budget} if options.compare else {}),
        },
        packages={name: version(name) for name in _PACKAGES},
    )
