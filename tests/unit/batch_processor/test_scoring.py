"""Scoring a table: every row in its place, a prediction or an error for each."""

import datetime as dt

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimq.errors import MlUnavailable, WorkbookError
from aimq.ml_client.blocking import ScoredTable
from aimq.schema import load_schema, read_columns
from aimq.schema.model import Task, parse_schema
from aimq.workbook.sheet import Sheet
from aimq.workbook.writing import write_workbook
from batch_processor.scoring import MAX_ERROR, Progress, score
from etl.generate import generate
from tests.ml_stand_in import SCHEMA_FILE, prices

SCHEMA = load_schema(SCHEMA_FILE)
NAN = np.nan  # one object, so that lists with it compare as equal
CLEAN = generate(SCHEMA, rows=4000, seed=3)


class Arithmetic:
    """Predicts as the stand-in does; notes what it was sent."""

    def __init__(self, refuse=lambda frame: [None] * len(frame), versions=()):
        self.sizes, self._refuse, self._versions = [], refuse, list(versions)

    def predict_table(self, table):
        frame = table.to_pandas()
        self.sizes.append(len(frame))
        errors = np.array(self._refuse(frame), dtype=object)
        version = self._versions.pop(0) if self._versions else "v1"
        wrong = errors != np.array(None)
        predictions = np.where(wrong, np.nan, prices(frame))
        return ScoredTable(predictions, errors, np.where(wrong, None, version))


def valid_rows(count):
    """Return clean rows as text and numbers mixed, as spreadsheets hold them."""
    rows = pd.DataFrame(
        {
            "model_group": ["A", "B", "C"] * count,
            **{
                f.name: [
                    (f.by_group.get(g, f.categories)[n % len(f.by_group.get(g, f.categories))]
                     if not f.numeric else float(int(f.minimum) + n % 2))
                    for n, g in enumerate(["A", "B", "C"] * count)
                ]
                for f in SCHEMA.features
            },
        }
    )  # fmt: skip
    return rows.head(count)


def sheet_of(frame):
    return Sheet("S", list(frame.columns), frame.set_axis(range(frame.shape[1]), axis=1))


def run(frame, predictor=None, batch_rows=100, reports=None):
    return score(
        sheet_of(frame), SCHEMA, predictor or Arithmetic(), batch_rows=batch_rows,
        report=(reports if reports is not None else []).append,
    )  # fmt: skip


def last_two(scored):
    frame = scored.sheet.frame
    return frame[frame.shape[1] - 2], frame[frame.shape[1] - 1]


def test_every_row_gets_its_own_prediction_in_large_batches():
    predictor, reports, frame = Arithmetic(), [], valid_rows(950)
    scored = run(frame, predictor, batch_rows=300, reports=reports)
    predicted, errors = last_two(scored)
    assert predictor.sizes == [300, 300, 300, 50]
    assert predicted.tolist() == prices(frame).tolist()
    assert errors.isna().all()
    assert scored.sheet.headers == [*frame.columns, "predicted_price", "error"]
    assert scored.model_versions == {"A": "v1", "B": "v1", "C": "v1"}
    assert [r.rows_done for r in reports] == [0, 300, 600, 900, 950]
    assert scored.progress == Progress(950, 950, 0)


@settings(max_examples=30)
@given(st.sets(st.integers(0, 59)), st.sets(st.integers(0, 59)), st.integers(1, 70))
def test_wrong_rows_spoil_no_other_whoever_finds_them(bad_here, bad_there, batch_rows):
    frame = valid_rows(60)
    frame["kilometers"] = ["many" if n in bad_here else float(n + 1) for n in range(60)]
    there = {float(n + 1) for n in bad_there}
    refusing = Arithmetic(
        lambda table: ["refused" if k in there else None for k in table["kilometers"]]
    )
    scored = run(frame, refusing, batch_rows)
    predicted, errors = last_two(scored)
    for n in range(60):
        wrong = n in bad_here or n in bad_there
        assert pd.isna(predicted[n]) == wrong
        assert pd.isna(errors[n]) != wrong
        if not wrong:
            assert predicted[n] == 2_000_000 - (n + 1) - frame["age_in_months"][n] * 100
    assert scored.progress.rows_failed == len(bad_here | bad_there)
    assert sum(refusing.sizes) == 60 - len(bad_here)


def test_columns_are_matched_without_regard_to_case_space_and_order():
    frame = valid_rows(6)
    mixed = frame[frame.columns[::-1]].rename(columns=lambda name: f" {name.upper()} ")
    mixed.insert(3, "note", ["=1+1"] * 6)
    scored = run(mixed)
    assert last_two(scored)[0].tolist() == prices(frame).tolist()
    assert scored.sheet.headers[:-2] == list(mixed.columns)
    assert scored.sheet.frame[3].tolist() == ["=1+1"] * 6


def test_missing_columns_are_named():
    with pytest.raises(WorkbookError) as caught:
        run(valid_rows(3).drop(columns=["doors", "color"]))
    assert "color, doors" in caught.value.detail or "doors, color" in caught.value.detail
    assert {error["field"] for error in caught.value.errors} == {"doors", "color"}


def test_columns_named_like_ours_are_kept_before_ours():
    frame = valid_rows(3)
    frame["predicted_price"], frame["error"] = [1.0, 2.0, 3.0], ["x", "y", "z"]
    scored = run(frame)
    assert scored.sheet.headers[-4:] == ["predicted_price", "error"] * 2
    assert scored.sheet.frame[frame.shape[1] - 2].tolist() == [1.0, 2.0, 3.0]
    assert last_two(scored)[0].tolist() == prices(frame).tolist()


def test_a_blank_row_is_said_to_be_empty():
    frame = valid_rows(3).astype(object)
    frame.loc[1] = None
    predicted, errors = last_two(run(frame))
    assert errors.tolist()[1] == "the row is empty"
    assert pd.isna(predicted[1])


def test_an_error_text_is_bounded():
    frame = valid_rows(1).astype(object)
    frame.loc[0] = "x" * 30_000
    assert len(last_two(run(frame))[1][0]) <= MAX_ERROR


def test_with_no_valid_row_nothing_is_sent():
    predictor, frame = Arithmetic(), valid_rows(5)
    frame["doors"] = "none"
    scored = run(frame, predictor)
    assert predictor.sizes == []
    assert scored.progress == Progress(5, 5, 5)
    assert scored.model_versions == {}


def test_rows_as_the_generator_makes_them_all_get_a_price_or_an_error():
    scored = run(CLEAN, batch_rows=1000)
    predicted, errors = last_two(scored)
    assert ((predicted.isna()) ^ (errors.isna())).all()
    assert 0 < scored.progress.rows_failed < len(CLEAN) / 2


def test_a_job_is_scored_again_when_new_models_come_into_service_meanwhile():
    predictor, frame = Arithmetic(versions=["v1", "v2"]), valid_rows(200)
    predictor._versions += ["v2", "v2"]
    scored = run(frame, predictor)
    assert scored.model_versions == {"A": "v2", "B": "v2", "C": "v2"}
    assert len(predictor.sizes) == 4


def test_models_that_change_all_the_time_are_a_passing_condition():
    predictor = Arithmetic(versions=[f"v{n}" for n in range(20)])
    with pytest.raises(MlUnavailable):
        run(valid_rows(200), predictor)


def test_what_the_report_raises_ends_the_work():
    class Enough(Exception):
        pass

    def report(progress):
        if progress.rows_done >= 200:
            raise Enough

    predictor = Arithmetic()
    with pytest.raises(Enough):
        score(sheet_of(valid_rows(900)), SCHEMA, predictor, batch_rows=100, report=report)
    assert len(predictor.sizes) == 2


def other_schema(**more):
    source = {
        "name": "houses",
        "target": {"name": "price", "prediction": "predicted_price"},
        "features": [
            {"name": "area", "type": "number", "minimum": 0, "maximum": 1000},
            {"name": "rooms", "type": "integer", "blank": True, "fill": 3},
            {"name": "sold", "type": "date"},
            {"name": "garden", "type": "boolean", "blank": True},
        ],
    }
    return parse_schema(source | more)


KINDS = {"name": "kind", "prediction": "predicted_kind", "task": "classification",
         "classes": ["small", "large"]}  # fmt: skip
DAY = dt.date(2024, 5, 31)


class Houses:
    """Predicts of a table of houses ten times the area, or a class by it."""

    def __init__(self, schema, *, interval=False):
        self.frames, self._schema, self._interval = [], schema, interval

    def predict_table(self, table):
        frame = table.to_pandas()
        self.frames.append(frame)
        area = frame["area"].to_numpy(dtype=float)
        classes = self._schema.task is Task.CLASSIFICATION
        words = np.where(area > 100, "large", "small").astype(object)
        return ScoredTable(
            words if classes else area * 10,
            np.full(len(area), None),
            np.full(len(area), "v1"),
            probability=area / 1000 if classes else None,
            low=area * 9 if self._interval else None,
            high=area * 11 if self._interval else None,
            warnings=np.where(area > 100, "area: large", None) if self._schema.warn else None,
        )


def houses(schema, frame, *, interval=False, batch_rows=2):
    predictor = Houses(schema, interval=interval)
    scored = score(
        sheet_of(frame), schema, predictor, batch_rows=batch_rows, report=lambda _: None,
        interval=interval,
    )  # fmt: skip
    width = frame.shape[1]
    added = scored.sheet.headers[width:]
    return scored, {name: scored.sheet.frame[width + n].tolist() for n, name in enumerate(added)}


def test_without_a_group_all_rows_are_of_one_version():
    frame = pd.DataFrame({"area": [50.0, 200.0, 60.0], "sold": [DAY] * 3, "rooms": [1.0, 2.0, 3.0]})
    scored, added = houses(other_schema(), frame)
    assert added == {"predicted_price": [500.0, 2000.0, 600.0], "error": [NAN] * 3}
    assert scored.model_versions == {"all": "v1"}


def test_a_column_that_may_be_blank_may_be_absent_or_have_gaps():
    frame = pd.DataFrame({"area": [50.0, 200.0], "sold": [DAY] * 2, "garden": [True, None]})
    predictor_schema = other_schema()
    predictor = Houses(predictor_schema)
    score(sheet_of(frame), predictor_schema, predictor, batch_rows=9, report=lambda _: None)
    (sent,) = predictor.frames
    assert sent["garden"].tolist() == [True, None]
    assert sent["rooms"].isna().all()
    with pytest.raises(WorkbookError, match="lacks 1 of 2 columns: sold"):
        houses(other_schema(), frame.drop(columns=["sold"]))


def test_intervals_are_columns_of_their_own_before_the_error():
    frame = pd.DataFrame({"area": [50.0, -1.0, 60.0], "sold": [DAY] * 3})
    _, added = houses(other_schema(), frame, interval=True)
    assert list(added) == [
        "predicted_price",
        "predicted_price_low",
        "predicted_price_high",
        "error",
    ]
    np.testing.assert_array_equal(added["predicted_price_low"], [450.0, np.nan, 540.0])
    np.testing.assert_array_equal(added["predicted_price_high"], [550.0, np.nan, 660.0])
    assert added["error"][1].startswith("area: -1 is not")


def test_classes_come_with_their_probability_and_warnings_where_the_model_has_them():
    frame = pd.DataFrame({"area": [50.0, 200.0, 60.0], "sold": [DAY, DAY, "never"]})
    _, added = houses(other_schema(target=KINDS, warn=True), frame)
    assert list(added) == ["predicted_kind", "probability", "warning", "error"]
    assert added["predicted_kind"] == ["small", "large", NAN]
    assert added["probability"][:2] == [0.05, 0.2]
    assert added["warning"] == [NAN, "area: large", NAN]
    assert pd.isna(added["probability"][2])


@pytest.mark.parametrize("target", [{"name": "price"}, KINDS])
def test_the_columns_are_there_when_no_row_is_valid(target):
    frame = pd.DataFrame({"area": ["many"] * 2, "sold": [DAY] * 2})
    schema = other_schema(target=target, warn=True)
    _, added = houses(schema, frame, interval=True)
    assert next(iter(added)) == schema.prediction
    assert list(added)[-2:] == ["warning", "error"]
    assert pd.isna(added[schema.prediction]).all()


def test_an_empty_row_is_not_predicted_though_every_field_may_be_blank():
    blank = {"type": "number", "blank": True, "fill": 1}
    schema = other_schema(features=[{"name": "area", **blank}, {"name": "rooms", **blank}])
    frame = pd.DataFrame({"area": [50.0, np.nan, np.nan], "rooms": [np.nan, np.nan, 2.0]})
    _, added = houses(schema, frame)
    assert added["error"] == [NAN, "the row is empty", NAN]
    assert pd.isna(added["predicted_price"][1])


def test_classes_booleans_and_dates_are_written_as_they_are(tmp_path):
    frame = pd.DataFrame(
        {"area": [50.0, 200.0], "sold": [DAY, dt.datetime(2024, 5, 31, 12)],  # noqa: DTZ001
         "garden": [True, False]}
    )  # fmt: skip
    scored, _ = houses(other_schema(target=KINDS, warn=True), frame)
    write_workbook(scored.sheet, tmp_path / "scored.xlsx")
    rows = list(openpyxl.load_workbook(tmp_path / "scored.xlsx").active.values)
    assert rows[0][3:] == ("predicted_kind", "probability", "warning", "error")
    assert rows[1] == (50, dt.datetime(2024, 5, 31), True, "small", 0.05, None, None)  # noqa: DTZ001
    assert rows[2][2:] == (False, "large", 0.2, "area: large", None)


class Reading:
    """Reads tables as the ML service does, notes the matrices, predicts the first column."""

    def __init__(self, schema):
        self.schema, self.matrices = schema, []

    def predict_table(self, table):
        columns = read_columns(self.schema, table.to_pandas(date_as_object=False))
        self.matrices.append(columns.matrix())
        count = len(columns.errors)
        return ScoredTable(columns.values[0], columns.errors, np.full(count, "v1", dtype=object))


def test_a_sheet_of_blanks_dates_booleans_and_other_categories_is_encoded_as_it_stands():
    schema = parse_schema(
        {
            "name": "houses",
            "target": {"name": "price"},
            "features": [
                {"name": "area", "type": "number", "blank": True, "fill": 90},
                {"name": "sold", "type": "date"},
                {"name": "garden", "type": "boolean", "blank": True},
                {"name": "type", "type": "category", "categories": ["flat"], "other": True},
                {"name": "rooms", "type": "integer", "blank": True, "fill": 3},
            ],
        }
    )
    sheet = pd.DataFrame(
        {
            "TYPE": ["flat", "tent", 7.0, "flat", None],
            "sold": [
                dt.date(2024, 5, 31),
                "2000-01-02",
                dt.datetime.max.replace(tzinfo=dt.UTC),
                "soon",
                None,
            ],
            "area": [50.0, None, " ", 10.0, None],
            "Garden": [True, "no", None, False, None],
            "note": ["a", "b", "c", "d", None],
        }
    ).astype(object)
    predictor = Reading(schema)
    scored = score(sheet_of(sheet), schema, predictor, batch_rows=2, report=[].append)
    predicted, errors = last_two(scored)
    days = (dt.date.max - dt.date(2000, 1, 1)).days
    assert np.vstack(predictor.matrices).tolist() == [
        [50, 0, 8917, 5, 4, 1, 0, 3, 1],
        [90, 1, 1, 1, 6, 0, -2, 3, 1],
        [90, 1, days, 12, 4, -1, -2, 3, 1],
    ]
    assert predicted.tolist()[:3] == [50, 90, 90]
    assert errors.isna().tolist() == [True, True, True, False, False]
    assert errors[3] == "sold: 'soon' is not a date such as 2024-05-31"
    assert errors[4] == "the row is empty"


def test_an_empty_row_is_not_predicted_even_where_every_value_may_be_missing():
    area = {"name": "area", "type": "number", "blank": True, "fill": 9}
    schema = parse_schema({"name": "x", "target": {"name": "y"}, "features": [area]})
    predictor = Reading(schema)
    sheet = pd.DataFrame({"area": [1.0, None, None], "note": ["a", None, "c"]})
    scored = score(sheet_of(sheet), schema, predictor, batch_rows=9, report=[].append)
    predicted, errors = last_two(scored)
    assert predicted[0] == 1
    assert predicted[2] == 9
    assert errors[1] == "the row is empty"
    assert len(predictor.matrices[0]) == 2
