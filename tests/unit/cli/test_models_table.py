"""The table of models in a terminal."""

from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from aimq.cli import models

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ENTRY = {
    "name": "houses", "default": False, "task": "regression", "version": "20260130T120000Z",
    "versions": ["20260101T000000Z", "20260130T120000Z"], "error": None, "group": None,
    "canary": {"version": "20260131T000000Z", "percent": 10},
    "scores": {"all": {"r2": 0.9, "mae": 1234.567}}, "baselines": {"all": {"mae": 4748.39}},
}  # fmt: skip


def shown(monkeypatch, *entries):
    class Answers:
        def __init__(self, _settings):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def json(self, *_):
            return {"models": list(entries)}

    monkeypatch.setattr(models, "Client", Answers)
    done = CliRunner().invoke(models.app, [])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    ("ago", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (86_400 * 40, "40 d"), (-5, "0 s")],
)
def test_a_version_is_as_old_as_its_name_says(ago, text):
    version = (NOW - timedelta(seconds=ago)).strftime("%Y%m%dT%H%M%SZ")
    assert models.age(version, NOW) == text


@pytest.mark.parametrize("version", ["v1", "", "2026"])
def test_a_version_with_another_name_has_no_age(version):
    assert models.age(version, NOW) == "-"


def test_a_model_is_a_row_with_its_score_beside_the_trivial_models(monkeypatch):
    output = shown(monkeypatch, ENTRY)
    assert "mae 1,235 (4,748)" in output
    assert "20260131T000000Z 10 %" in output
    assert "all:" not in output


@pytest.mark.parametrize(
    ("score", "text"),
    [(0.38891, "mae 0.3889 "), (999.94, "mae 999.9 "), (13190.4, "mae 13,190 "), (0.0, "mae 0 ")],
)
def test_a_score_has_four_digits_or_more(monkeypatch, score, text):
    assert text in shown(monkeypatch, ENTRY | {"scores": {"all": {"mae": score}}})


def test_each_group_has_its_score_and_many_are_counted(monkeypatch):
    groups = {f"g{n}": {"accuracy": 0.5, "log_loss": 1.0} for n in range(9)}
    entry = ENTRY | {"group": "region", "scores": groups, "baselines": {}, "canary": None}
    output = shown(monkeypatch, entry)
    assert "g0: accuracy 0.5" in output
    assert "and 4 more groups" in output
    assert "g5" not in output


def test_a_model_that_cannot_be_served_says_why(monkeypatch):
    unknown = {"task": None, "group": None, "scores": {}, "baselines": {}, "canary": None}
    entry = ENTRY | unknown | {"version": None, "error": "a.onnx: SHA-256 differs", "default": True}
    output = shown(monkeypatch, entry)
    assert "houses (default)" in output
    assert "SHA-256 differs" in output


def test_scores_of_a_version_without_metrics_are_left_out(monkeypatch):
    assert "mae" not in shown(monkeypatch, ENTRY | {"scores": {"all": None}, "baselines": {}})


def test_no_models_are_said_to_be_none(monkeypatch):
    assert shown(monkeypatch) == "No models.\n"
