"""What a training shows: progress per group, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from aimq.published import Manifest
from etl.candidates import TRIVIAL
from etl.clean import Account
from etl.compare import Compared
from etl.evaluate import ClassScores, Scores


class GroupReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one group.

    Attributes:
        chosen: name of the candidate that is published.
        model: its scores on the held-out rows.
        baseline: scores of predicting the training rows' median, or their share of each class.
        compared: figures of each candidate by name; empty where none were compared.
        coverage: per cent that prediction intervals are to cover, to the share of the held-out rows
            that they do; empty for classes.
        parity: largest difference between ONNX and pickle, see `etl.export.check_parity`.
        onnx_bytes: size of the ONNX file.
        pickle_bytes: size of the pickle.
    """

    rows_trained: int
    rows_held_out: int
    chosen: str
    model: Scores | ClassScores
    baseline: Scores | ClassScores
    compared: dict[str, Compared]
    coverage: dict[str, float]
    parity: float
    onnx_bytes: int
    pickle_bytes: int


@contextmanager
def progress_of(
    console: Console, groups: tuple[str, ...]
) -> Iterator[Callable[[str, str, float], None]]:
    """Show how far each group is: bars on a terminal, else one plain line per finished group.

    Yields:
        A function to call with a group, the candidate at work and the share of the group's work
        that is done, up to 1.
    """
    if not console.is_terminal:

        def plain(group: str, candidate: str, done: float) -> None:
            if done >= 1:
                console.print(f"Group {group}: {candidate} fitted", markup=False)

        yield plain
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
        tasks = {group: bars.add_task(f"Group {group}", total=1.0) for group in groups}

        def shown(group: str, candidate: str, done: float) -> None:
            words = f"Group {group}: {candidate}"
            bars.update(tasks[group], completed=done, description=escape(words))

        yield shown


def show(
    console: Console, manifest: Manifest, account: Account, groups: dict[str, GroupReport]
) -> None:
    """Print the closing report."""
    console.print(f"\nData: {manifest.data}", markup=False, soft_wrap=True)
    for table in (_rows(account), _scores(groups), _files(groups)):
        console.print(table)
    for group, report in groups.items():
        if report.chosen == TRIVIAL:
            console.print(
                f"Group {group}: nothing predicts better than the trivial model, which ignores "
                "every column. Add columns that say more about the target, or rows.",
                markup=False,
            )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


def _rows(account: Account) -> Table:
    table = _table("Rows of the table", "", "rows")
    table.add_row("read", f"{account.rows:,}")
    for reason, rows in account.repaired.most_common():
        if rows:
            table.add_row(f"repaired: {reason}", f"{rows:,}")
    for reason, rows in account.dropped.most_common():
        table.add_row(f"dropped: {reason}", f"{rows:,}")
    table.add_row("kept", f"{account.kept:,}")
    return table


def _scores(groups: dict[str, GroupReport]) -> Table:
    classes = any(isinstance(report.model, ClassScores) for report in groups.values())
    figures = ("accuracy", "log loss") if classes else ("R²", "MAE", "MAPE")
    table = _table("Scores on held-out rows", "group", "predicts", *figures)
    for group, report in groups.items():
        trivial = "share of each class" if classes else "median"
        table.add_row(group, report.chosen, *_figures(report.model))
        table.add_row(group, trivial, *_figures(report.baseline))
    return table


def _figures(scores: Scores | ClassScores) -> tuple[str, ...]:
    if isinstance(scores, ClassScores):
        return f"{scores.accuracy:.1%}", f"{scores.log_loss:.3f}"
    return f"{scores.r2:.3f}", f"{scores.mae:,.{_places(scores.mae)}f}", f"{scores.mape:.1%}"


def _places(value: float) -> int:
    """Return decimal places that show three digits of a small number and none of a large one."""
    return max(0, 2 - math.floor(math.log10(value))) if 0 < value < 100 else 0  # noqa: PLR2004 - three digits


def _files(groups: dict[str, GroupReport]) -> Table:
    columns = ("group", "trained", "held out", "ONNX", "pickle", "differ by")
    table = _table("Files", *columns)
    for group, report in groups.items():
        sizes = f"{report.onnx_bytes / 1e6:.1f} MB", f"{report.pickle_bytes / 1e6:.1f} MB"
        counts = f"{report.rows_trained:,}", f"{report.rows_held_out:,}"
        table.add_row(group, *counts, *sizes, f"{report.parity:.0e}")
    return table
