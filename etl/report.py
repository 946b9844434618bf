"""What a training shows: progress per group, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from aimq.published import Manifest
from etl.clean import Account
from etl.evaluate import Scores


class GroupReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one group.

    Attributes:
        baseline: scores of predicting the training rows' median.
        parity: largest relative difference between ONNX and pickle on the held-out rows.
        onnx_bytes: size of the ONNX file.
        pickle_bytes: size of the pickle.
    """

    rows_trained: int
    rows_held_out: int
    model: Scores
    baseline: Scores
    parity: float
    onnx_bytes: int
    pickle_bytes: int


@contextmanager
def progress_of(
    console: Console, groups: tuple[str, ...], trees: int
) -> Iterator[Callable[[str, int], None]]:
    """Show the forests grow: bars on a terminal, else one plain line per finished group.

    Yields:
        A function to call with a group and the number of its trees fitted so far.
    """
    if not console.is_terminal:

        def plain(group: str, fitted: int) -> None:
            if fitted == trees:
                console.print(f"Group {group}: {trees} trees trained", markup=False)

        yield plain
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("trees"), TimeElapsedColumn(), console=console) as bars:
        tasks = {group: bars.add_task(f"Group {group}", total=trees) for group in groups}
        yield lambda group, fitted: bars.update(tasks[group], completed=fitted)


def show(
    console: Console, manifest: Manifest, account: Account, groups: dict[str, GroupReport]
) -> None:
    """Print the closing report."""
    console.print(f"\nData: {manifest.data}", markup=False, soft_wrap=True)
    for table in (_rows(account), _scores(groups), _files(groups)):
        console.print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


def _rows(account: Account) -> Table:
    table = _table("Rows of the table", "", "rows")
    table.add_row("read", f"{account.rows:,}")
    for reason, rows in account.repaired.most_common():
        table.add_row(f"repaired: {reason}", f"{rows:,}")
    for reason, rows in account.dropped.most_common():
        table.add_row(f"dropped: {reason}", f"{rows:,}")
    table.add_row("kept", f"{account.kept:,}")
    return table


def _scores(groups: dict[str, GroupReport]) -> Table:
    table = _table("Scores on held-out rows", "group", "predicts", "R²", "MAE", "MAPE")
    for group, report in groups.items():
        for name, scores in (("forest", report.model), ("median", report.baseline)):
            figures = f"{scores.r2:.3f}", f"{scores.mae:,.0f}", f"{scores.mape:.1%}"
            table.add_row(group, name, *figures)
    return table


def _files(groups: dict[str, GroupReport]) -> Table:
    columns = ("group", "trained", "held out", "ONNX", "pickle", "differ by")
    table = _table("Files", *columns)
    for group, report in groups.items():
        sizes = f"{report.onnx_bytes / 1e6:.1f} MB", f"{report.pickle_bytes / 1e6:.1f} MB"
        counts = f"{report.rows_trained:,}", f"{report.rows_held_out:,}"
        table.add_row(group, *counts, *sizes, f"{report.parity:.0e}")
    return table
