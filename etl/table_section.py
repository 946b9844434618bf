"""The parts of the training report about the table: its rows, and the columns that are used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from aimq.schema import Schema
from aimq.schema.error_texts import allowed
from etl.html_tags import Html, items, table, tag
from etl.readable_figures import share

if TYPE_CHECKING:
    from etl.clean import Account


def data_quality(account: Account, left_out: Mapping[str, str], notes: Sequence[str]) -> Html:
    """Tell what became of the rows, which columns were left out, and why."""
    counts = [("rows read", account.rows)]
    counts += [(f"dropped: {reason}", n) for reason, n in account.dropped.most_common()]
    counts += [("rows used", account.kept)]
    repaired = account.repaired.most_common()
    parts = [
        table("Rows", ("", "rows", "share"), _shares(counts, account.rows)),
        table("Rows repaired, and used", ("", "rows", "share"), _shares(repaired, account.rows))
        if any(count for _, count in repaired)
        else tag("p", "No row was repaired."),
        table("Columns left out", ("column", "why"), left_out.items(), "words")
        if left_out
        else tag("p", "No column was left out."),
        items(notes) if notes else Html(),
    ]
    return tag("section", tag("h2", "The table"), *parts)


def _shares(counts: Iterable[tuple[str, int]], rows: int) -> list[tuple[str, str, str]]:
    return [(name, f"{count:,}", share(count / max(rows, 1))) for name, count in counts if count]


def features(schema: Schema) -> Html:
    """Tell what the model asks for."""
    rows = [
        (feature.name, feature.type, allowed(feature), "yes" if feature.blank else "no")
        for feature in schema.fields
    ]
    headings = ("column", "type", "accepts", "may be blank")
    return tag(
        "section",
        tag("h2", "What the model is asked with"),
        table("Columns of a record or spreadsheet", headings, rows, "words"),
    )
