"""The report of a training: one HTML file for people, complete in itself.

It has no script and refers to nothing outside: it opens without a network, on a phone and on paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from aimq.schema import Schema, Task
from etl.group_section import group_section
from etl.html_tags import Html, table, tag
from etl.readable_figures import figure, share
from etl.table_section import data_quality, features

if TYPE_CHECKING:
    from etl.clean import Account, Cleaned
    from etl.fit_groups import FittedGroups
    from etl.report import GroupReport

#: Groups with plots, those of the most rows; tables have all of them.
PLOTTED: Final = 5
#: Heading to a field of the scores and how it is written.
_CLASS_SCORES: Final = {"right": ("accuracy", share), "log loss": ("log_loss", figure)}
_NUMBER_SCORES: Final = {
    "mean error": ("mae", figure),
    "relative error": ("mape", share),
    "R²": ("r2", figure),
}
_STYLE: Final = Path(__file__).with_suffix(".css")


def write(
    cleaned: Cleaned,
    groups: FittedGroups,
    *,
    data: str,
    left_out: Mapping[str, str],
    notes: Sequence[str],
) -> bytes:
    """Return the report as UTF-8. The same arguments give the same bytes. Not thread-safe.

    Args:
        cleaned: the table that was learnt from.
        groups: what came of each group.
        data: where the table came from, in words.
        left_out: column to the reason why it is no feature.
        notes: what else a person should know, one sentence each.
    """
    schema = cleaned.columns.schema
    body = tag(
        "main",
        _summary(schema, groups.reports, cleaned.account),
        _scores(schema, groups.reports),
        *_group_sections(cleaned, groups),
        data_quality(cleaned.account, left_out, notes),
        features(schema),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"Training report: {schema.title}"),
        tag("style", Html(_STYLE.read_text(encoding="utf-8"))),
    )
    page = tag("html", head, tag("body", _header(schema, data), body), lang="en")
    return f"<!DOCTYPE html>\n{page}".encode(errors="replace")


def _header(schema: Schema, data: str) -> Html:
    kind = "class" if schema.task is Task.CLASSIFICATION else "number"
    per = f", with a model for each {schema.group}" if schema.group is not None else ""
    return tag(
        "header",
        tag("h1", f"Training report: {schema.title}"),
        tag("p", f"Predicts {schema.target}, a {kind}{per}."),
        tag("p", f"Learnt from: {data}.", class_="soft"),
    )


def _summary(schema: Schema, reports: Mapping[str, GroupReport], account: Account) -> Html:
    """The most important figures, over the held-out rows of all groups."""
    rows = [report.rows_held_out for report in reports.values()]
    metric = "accuracy" if schema.task is Task.CLASSIFICATION else "mae"
    mine, trivial = (
        float(
            np.average([getattr(getattr(r, who), metric) for r in reports.values()], weights=rows)
        )
        for who in ("model", "baseline")
    )
    unit = f" {schema.target_unit}" if schema.target_unit else ""
    if schema.task is Task.CLASSIFICATION:
        sentence = (
            f"The answer was right for {share(mine)} of the rows that were kept from training. "
            f"Answering the most frequent class each time would be right for {share(trivial)}."
        )
        figures = {"right": share(mine), "always the same class": share(trivial)}
    else:
        sentence = (
            f"Predictions are off by {figure(mine)}{unit} on average, for rows that were kept from "
            f"training. Answering the median each time would be off by {figure(trivial)}{unit}."
        )
        figures = {"mean error": figure(mine) + unit, "always the median": figure(trivial) + unit}
    figures |= {"rows learnt from": f"{account.kept - sum(rows):,}", "held out": f"{sum(rows):,}"}
    tiles = (tag("div", tag("dt", name), tag("dd", value)) for name, value in figures.items())
    return tag("section", tag("p", sentence, class_="lead"), tag("dl", *tiles))


def _scores(schema: Schema, reports: Mapping[str, GroupReport]) -> Html:
    """Scores on held-out rows by group, beside the trivial model's."""
    classes = schema.task is Task.CLASSIFICATION
    shown = _CLASS_SCORES if classes else _NUMBER_SCORES
    rows = []
    for group, report in reports.items():
        name = group if schema.group is not None else "all rows"
        counts = f"{report.rows_trained:,}", f"{report.rows_held_out:,}"
        for what, scores in ((report.chosen, report.model), ("trivial model", report.baseline)):
            cells = [words(getattr(scores, key)) for key, words in shown.values()]
            rows.append((name, what, *counts, *cells))
    trivial = "share of each class" if classes else "median"
    return tag(
        "section",
        tag("h2", "How good the predictions are"),
        table(
            "Scores on held-out rows",
            (schema.group or "rows", "model", "trained on", "held out", *shown),
            rows,
        ),
        tag(
            "p",
            f"The trivial model answers the {trivial} of the training rows, whatever it is asked. "
            "Held-out rows were chosen by chance and took no part in training.",
            class_="soft",
        ),
    )


def _group_sections(cleaned: Cleaned, groups: FittedGroups) -> Iterable[Html]:
    schema = cleaned.columns.schema
    by_rows = sorted(groups.reports, key=lambda group: -groups.reports[group].rows_held_out)
    plotted = sorted(by_rows[:PLOTTED], key=schema.groups.index)
    for group in plotted:
        mine = cleaned.columns.groups == schema.groups.index(group)
        fitted = groups.fitted[group]
        yield group_section(
            f"{schema.group}: {group}" if schema.group is not None else "The model",
            schema,
            fitted,
            cleaned.columns.matrix(mine)[fitted.unseen],
            cleaned.target[mine][fitted.unseen],
        )
    if len(plotted) < len(by_rows):
        yield tag("p", f"Groups with plots: {PLOTTED} of {len(by_rows)}, with the most rows.")
