"""The report of a training: complete in itself, escaped, and with everything it promises."""

from __future__ import annotations

import base64
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from aimq.schema import read_columns
from aimq.schema.model import Schema, parse_schema
from etl import html_report
from etl.clean import Account, Cleaned
from etl.compare import Compared
from etl.fit import Plan
from etl.fit_groups import FittedGroups, fit_groups
from etl.importance import permutation_importance

HOSTILE = '<script>alert("1")</script> & $x_1$'
WORDS = {
    "data": "table houses.xlsx, 212 rows",
    "left_out": {"id <b>": "names the row", "note": "free text"},
    "notes": ["Dates were read as year-month-day."],
}
FEATURES = [
    {"name": "area", "type": "number", "unit": "m²"},
    {"name": HOSTILE, "type": "category", "categories": ["<img src=x>", "b\x01\x0bell", "通り"]},
    {"name": "sold", "type": "date"},
    {"name": "lift", "type": "boolean", "blank": True},
]
ROWS = 200


class Discard:
    def write(self, name: str, content: bytes) -> int:
        return len(content)


class Page(HTMLParser):
    """The elements of a page, the text of some of them, and all of the text."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(content.decode())
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "img"}:
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        for tag in set(self._open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return self.texts["body"][0]


def schema_of(target: dict, groups: list[str] | None = None) -> Schema:
    source = {"name": "houses", "title": f"Houses {HOSTILE}", "features": FEATURES}
    source["target"] = {"prediction": "predicted", **target}
    if groups:
        source["group"] = {"name": "town", "values": groups}
    return parse_schema(source)


def learnt(schema: Schema) -> tuple[Cleaned, FittedGroups]:
    random = np.random.default_rng(4)
    frame = pd.DataFrame(
        {
            "area": random.uniform(20, 200, ROWS),
            HOSTILE: random.choice(FEATURES[1]["categories"], ROWS),
            "sold": pd.Timestamp("2024-01-01")
            + pd.to_timedelta(random.integers(0, 700, ROWS), unit="D"),
            "lift": random.choice([True, False], ROWS),
            "town": random.choice(schema.groups, ROWS),
        }
    )
    columns = read_columns(schema, frame[list(schema.columns)])
    assert columns.valid.all()
    target = frame["area"].to_numpy() * 10 + random.normal(0, 50, ROWS)
    if schema.classes:
        target = np.digitize(target, [700, 1400])[:ROWS].astype(np.float64) % len(schema.classes)
    account = Account(
        rows=212, kept=ROWS, dropped=Counter({"blank": 12}), repaired=Counter({"outer spaces": 7})
    )
    cleaned = Cleaned(columns, target, account)
    plan = Plan(
        task=schema.task, classes=schema.classes, coded=schema.coded, seed=1, held_out=0.25,
        jobs=1, trees=5, leaf=5, compare=False,
    )  # fmt: skip
    groups = fit_groups(cleaned, plan, Discard(), lambda *_: None)
    metric = "log_loss" if schema.classes else "mae"
    compared = {
        name: Compared(score=score, error=1.5, metric=metric, seconds=2, why_not=why)
        for name, score, why in [
            ("random forest", 60.25, ""), ("linear", 55.5, "differs in ONNX"), ("trivial", 420, "")
        ]
    }  # fmt: skip
    for group, fitted in groups.fitted.items():
        groups.fitted[group] = replace(fitted, compared=compared)
    return cleaned, groups


@pytest.fixture(scope="module")
def numbers() -> tuple[Cleaned, FittedGroups]:
    return learnt(schema_of({"name": "price", "unit": "EUR"}))


@pytest.fixture(scope="module")
def number_report(numbers) -> bytes:
    return html_report.write(*numbers, **WORDS)


@pytest.fixture(scope="module")
def class_report() -> bytes:
    target = {"name": "band", "task": "classification", "classes": ["low", "<i>high</i>"]}
    return html_report.write(*learnt(schema_of(target, ["North", "<South>"])), **WORDS)


@pytest.fixture(params=["number_report", "class_report"])
def report(request) -> bytes:
    return request.getfixturevalue(request.param)


def titles(page: Page) -> list[str]:
    return page.texts["strong"]


def test_a_report_refers_to_nothing_outside_itself(report):
    page = Page(report)
    names = {name for name, _ in page.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "a", "form", "base"}
    for name, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on") or key == "href"], name
        source = attributes.get("src")
        assert source is None or source.startswith("data:image/svg+xml;base64,"), name
    assert not re.search(r"url\(|@import", page.texts["style"][0])


def images(page: Page) -> list[ElementTree.Element]:
    found = [image["src"].partition("base64,")[2] for image in page.all("img")]
    return [ElementTree.fromstring(base64.b64decode(image)) for image in found]


def test_plots_are_well_formed_and_refer_to_nothing_outside_themselves(report):
    for image in images(Page(report)):
        for element in image.iter():
            assert not element.tag.endswith("script")
            for key, value in element.attrib.items():
                if key.endswith("href"):
                    assert value.startswith(("#", "data:image/png")), value


def test_names_of_a_stranger_are_text(report):
    page = Page(report)
    assert f"Training report: Houses {HOSTILE}" in page.texts["h1"]
    assert HOSTILE in page.texts["th"]
    assert "id <b>" in page.texts["th"]
    assert any("<img src=x>" in cell for cell in page.texts["td"])
    assert not {"b", "i", "script"} & {name for name, _ in page.elements}


def test_names_in_plots_are_no_formulas_and_hold_no_control_characters(class_report):
    words = [t.text or "" for image in images(Page(class_report)) for t in image.iter()]
    assert any("$x_1$" in word or "<script>" in word for word in words)
    assert "<i>high</i>" in words


def test_every_plot_has_a_title_and_words_that_stand_for_it(report):
    page = Page(report)
    assert len(page.all("img")) == len(titles(page)) == len(page.all("figure"))
    assert all(image["alt"] for image in page.all("img"))


def test_headings_and_tables_lead_those_who_cannot_see(report):
    page = Page(report)
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(heading.get("scope") for heading in page.all("th"))
    assert page.all("html") == [{"lang": "en"}]
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))


def test_data_quality_is_told(report):
    text = Page(report).text
    for words in ("table houses.xlsx", "dropped: blank", "outer spaces", "names the row",
                  "free text", "Dates were read as year-month-day."):  # fmt: skip
        assert words in text


def test_a_regression_shows_errors_intervals_and_importance(number_report):
    page = Page(number_report)
    assert titles(page) == [
        "Candidates",
        "Predicted and actual",
        "Errors by prediction",
        "How large the errors are",
        "Prediction intervals",
        "Importance of the columns",
    ]
    assert "linear: differs in ONNX" in page.texts["li"]
    assert "random forest (published)" in page.texts["th"]
    assert "60.2" in page.texts["td"]
    assert "90 %" in page.texts["th"]
    assert "Predictions are off by" in page.text


def test_classes_show_confusion_calibration_and_scores_per_group(class_report):
    page = Page(class_report)
    mine = ["Candidates", "Confusion matrix", "Calibration", "Importance of the columns"]
    assert titles(page) == mine * 2
    assert {"town: North", "town: <South>"} <= set(page.texts["h2"])
    assert page.texts["th"].count("<i>high</i>") == 2
    assert "The answer was right for" in page.text


def test_scores_are_those_of_the_training(numbers, number_report):
    (scores,) = (report for report in numbers[1].reports.values())
    cells = Page(number_report).texts["td"]
    assert f"{scores.model.mae:.3g}" in cells
    assert f"{scores.baseline.mae:.3g}" in cells
    for level, covered in scores.coverage.items():
        assert f"{covered:.1%}" in cells, level


def test_the_same_training_gives_the_same_bytes(numbers, number_report):
    assert html_report.write(*numbers, **WORDS) == number_report


def test_a_report_is_small(report):
    assert len(report) < 400_000


def test_of_many_groups_some_are_plotted_and_all_are_in_the_table(monkeypatch):
    monkeypatch.setattr(html_report, "PLOTTED", 1)
    towns = ["East", "North", "South"]
    cleaned, groups = learnt(schema_of({"name": "price"}, towns))
    page = Page(html_report.write(cleaned, groups, **WORDS))
    assert titles(page).count("Predicted and actual") == 1
    assert "1 of 3" in page.text
    assert set(towns) <= set(page.texts["th"])


def test_a_forest_without_comparison_is_reported_too(numbers):
    cleaned, groups = numbers
    fitted = {group: replace(each, compared={}) for group, each in groups.fitted.items()}
    page = Page(html_report.write(cleaned, replace(groups, fitted=fitted), **WORDS))
    assert "Candidates" not in titles(page)


def test_a_target_that_does_not_vary_is_reported_too(numbers):
    cleaned, groups = numbers
    flat = Cleaned(cleaned.columns, np.full(ROWS, 7.0), cleaned.account)
    fitted = {
        group: replace(each, predicted=np.full(len(each.unseen), 7.0))
        for group, each in groups.fitted.items()
    }
    assert Page(html_report.write(flat, replace(groups, fitted=fitted), **WORDS)).text


def test_columns_of_one_feature_are_shuffled_together():
    schema = schema_of({"name": "price"})
    date = slice(2, 5)
    random = np.random.default_rng(0)
    matrix = random.normal(size=(300, len(schema.matrix_columns))).astype(np.float32)
    matrix[:, date] = matrix[:, [0]] + [0, 1, 2]

    def errors(rows, places):
        apart = np.abs(np.diff(rows[:, date], axis=1) - 1).max(axis=1)
        assert apart.max() < 1e-5, "a date was torn"
        return np.abs(rows[:, 2] - matrix[places, 2]).astype(np.float64)

    found = permutation_importance(schema, matrix, errors, seed=1)
    assert found[0].feature == "sold"
    assert found[0].mean > 0.5
    assert [each.mean for each in found[1:]] == [0, 0, 0]


def test_a_wide_table_is_shuffled_in_parts(monkeypatch):
    """However many columns, what is predicted at once fits the memory."""
    schema = schema_of({"name": "price"})
    matrix = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    sizes = []

    def errors(rows, places):
        sizes.append(len(rows))
        return np.abs(rows[:, 0] - matrix[places, 0]).astype(np.float64)

    whole = permutation_importance(schema, matrix, errors, seed=1)
    assert sizes == [50, 4 * 5 * 50]
    monkeypatch.setattr("etl.importance._CELLS", 1)
    assert permutation_importance(schema, matrix, errors, seed=1) == whole
    assert sizes[2:] == [50] + 4 * [5 * 50]
