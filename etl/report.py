"""What a training shows: progress per group, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
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
    console.print(f"\nData: {manifest.data}", markup=False)
    console.print(_rows(account))
    console.print(_groups(groups))


def _rows(account: Account) -> Table:
    table = Table(title="Rows", title_justify="left")
    table.add_column("what")
    table.add_column("rows", justify="right")
    table.add_row("read", f"{account.rows:,}")
    for reason, rows in account.repaired.most_common():
        table.add_row(f"repaired: {reason}", f"{rows:,}")
    for reason, rows in account.dropped.most_common():
        table.add_row(f"dropped: {reason}", f"{rows:,}")
    table.add_row("kept", f"{account.kept:,}")
    return table


def _groups(groups: dict[str, GroupReport]) -> Table:
    table = Table(
        title="Held-out rows: model (predict-the-median baseline)", title_justify="left"
    )
    for name in ("group", "trained", "held out", "R²", "MAE", "MAPE", "parity", "ONNX", "pickle"):
        table.add_column(name, justify="left" if name == "group" else "right")
    for group, report in groups.items():
        model, base = report.model, report.baseline
        table.add_row(
            group,
            f"{report.rows_trained:,}",
            f"{report.rows_held_out:,}",
            f"{model.r2:.3f} ({base.r2:.3f})",
            f"{model.mae:,.0f} ({base.mae:,.0f})",
            f"{model.mape:.1%} ({base.mape:.0%})",
            f"{report.parity:.0e}",
            f"{report.onnx_bytes / 1e6:.1f} MB",
            f"{report.pickle_bytes / 1e6:.1f} MB",
        )
    return table
