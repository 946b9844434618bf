"""The whole system as its users meet it: real processes, real files."""

import json

import httpx
import numpy as np
import openpyxl
import pandas as pd
import pytest

from aimq.schema.model import parse_schema
from tests.system import ROOT, environment, run_aimq, running

SAMPLES = ROOT / "assets" / "sample_files"


def rows_of(path):
    sheet = openpyxl.load_workbook(path).worksheets[0]
    header, *rows = sheet.iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.parametrize(("name", "count"), [("1_row", 1), ("100_rows", 100), ("1000_rows", 1000)])
def test_a_sample_comes_back_with_a_prediction_on_every_row(system, tmp_path, name, count):
    source, target = SAMPLES / f"{name}.xlsx", tmp_path / "out.xlsx"
    done = system.aimq("upload", str(source), "-o", str(target))
    assert done.returncode == 0, done.stderr
    given, scored = rows_of(source), rows_of(target)
    assert len(scored) == count
    for before, after in zip(given, scored, strict=True):
        assert list(after) == [*before, "predicted_price", "error"]
        assert {name: after[name] for name in before} == before
        assert after["predicted_price"] > 0
        assert after["error"] is None


def test_wrong_rows_come_back_in_their_place_with_their_error(system, tmp_path):
    source, target = SAMPLES / "mixed_errors.xlsx", tmp_path / "out.xlsx"
    done = system.aimq("upload", str(source), "-o", str(target))
    assert done.returncode == 0, done.stderr
    given, scored = rows_of(source), rows_of(target)
    assert len(scored) == len(given)
    right = [row for row in scored if row["predicted_price"] is not None]
    wrong = [row for row in scored if row["error"] is not None]
    assert right
    assert wrong
    assert len(right) + len(wrong) == len(scored)
    assert all((row["predicted_price"] is None) != (row["error"] is None) for row in scored)


def test_every_way_to_a_prediction_gives_the_same_number(system, tmp_path):
    schema = parse_schema(httpx.get(f"{system.ml_url}/models").json()["schema"])
    source = tmp_path / "varied.xlsx"
    table = varied(schema, 1200)
    table.to_excel(source, index=False)
    target = tmp_path / "out.xlsx"
    assert system.aimq("upload", str(source), "-o", str(target)).returncode == 0
    by_sheet = np.array([row["predicted_price"] for row in rows_of(target)], dtype=float)
    records = json.loads(table.to_json(orient="records"))
    patience = {"timeout": 60.0}
    by_onnx, by_pickle = (
        np.array([a["predicted_price"] for a in httpx.post(
            f"{system.ml_url}/predict/{way}", json=records, **patience).raise_for_status().json()])
        for way in ("onnx", "pickle")
    )  # fmt: skip
    some = range(0, len(records), 100)
    by_one = [
        httpx.post(f"{system.url}/predict", json=records[n]).json()["predicted_price"] for n in some
    ]
    assert len(np.unique(by_sheet)) > 300  # the small forests of the tests have few leaves
    np.testing.assert_allclose(by_onnx, by_sheet, rtol=1e-4)
    np.testing.assert_allclose(by_pickle, by_sheet, rtol=1e-4)
    np.testing.assert_allclose(by_one, by_sheet[list(some)], rtol=1e-4)


def varied(schema, count):
    """Return rows that use every category and the whole of every range."""
    random = np.random.default_rng(7)
    groups = random.choice(schema.groups, count)
    columns = {schema.group: groups}
    for feature in schema.features:
        if feature.numeric:
            columns[feature.name] = random.integers(feature.minimum, feature.maximum + 1, count)
        else:
            columns[feature.name] = [
                random.choice(feature.by_group.get(group, feature.categories)) for group in groups
            ]
    return pd.DataFrame(columns)


def test_jobs_lists_what_was_uploaded(system, tmp_path):
    source = SAMPLES / "1_row.xlsx"
    assert system.aimq("upload", str(source), "-o", str(tmp_path / "o.xlsx")).returncode == 0
    listed = system.aimq("jobs", "--limit", "3")
    assert listed.returncode == 0
    assert "done" in listed.stdout


def test_a_file_that_is_no_workbook_is_refused_on_one_line(system, tmp_path):
    pdf = tmp_path / "renamed.xlsx"
    pdf.write_bytes(b"%PDF-1.7 nothing of use")
    refused = system.aimq("upload", str(pdf))
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "Traceback" not in refused.stderr


def test_a_taken_port_is_said_in_one_line(system):
    second = run_aimq(system.environ, "up")
    assert second.returncode == 2
    assert second.stderr.strip().splitlines()[-1].startswith("aimq: Port ")
    assert "AIMQ_INTERFACE_PORT" in second.stderr


def test_nobody_there_is_said_in_one_line(tmp_path, trained_models):
    alone = run_aimq(environment(tmp_path, trained_models), "jobs")
    assert alone.returncode == 3
    assert "aimq up" in alone.stderr
    assert len(alone.stderr.strip().splitlines()) == 1


def test_sigterm_ends_all_services_with_exit_code_zero(tmp_path, trained_models):
    with running(environment(tmp_path, trained_models)) as system:
        assert system.stop() == 0
        for url in (system.url, system.ml_url, system.metrics_url):
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{url}/health/live")
