"""The page in a browser: what a person does on it, and what of it arrives."""

import json

import msgspec
import pytest

from aimq.jobs.job import Status
from aimq.jobs.port import Outcome
from tests.browser import browser
from tests.integration.interface.conftest import workbook
from tests.integration.interface.stub_ml import HOUSES, WINE
from tests.job_changes import until

HOSTILE = "<img src=x onerror=document.title=1>"


@pytest.fixture(scope="module")
def tab():
    with browser() as tab:
        yield tab


@pytest.fixture
def page(tab, process, ml):
    """Yield a tab with the page of an interface that serves three models."""
    ml.sources |= {"houses": HOUSES, "wine": WINE}
    tab.open(process.url)
    tab.until("document.querySelector('#predict:not([hidden])')")
    yield tab
    assert tab.faults == []
    assert tab.run("document.title.startsWith('AIMQ')")


def bodies(ml, path):
    return [json.loads(body) for asked, _, body in ml.asked if asked == path]


def test_the_form_and_the_calls_follow_the_chosen_model(page, ml):
    assert page.run("[...document.querySelector('#model').options].map((one) => one.value)") == [
        "used_cars", "houses", "wine",
    ]  # fmt: skip
    page.set("[name=model_group]", "B")
    assert page.run("[...document.querySelector('[name=model]').options].map((o) => o.value)") == [
        "Bora", "Brio",
    ]  # fmt: skip
    ml.body = b'{"predicted_kind": "red", "probability": 0.931, "model_version": "7"}'
    page.set("#model", "wine")
    page.until("document.querySelector('[name=alcohol]')")
    assert page.run("document.querySelector('#interval-choice').hidden")
    assert "/models/wine/predict" in page.run("document.querySelector('#example').textContent")
    page.run("HTMLAnchorElement.prototype.click = function () { window.saved = this.download; }")
    page.click("#template")
    page.until("window.saved === 'wine_template.xlsx'")
    page.set("[name=alcohol]", "12.5")
    page.click("#predict button")
    page.until("document.querySelector('#prediction').innerText")

    assert bodies(ml, "/models/wine/predict") == [{"alcohol": 12.5}]
    assert page.text("#prediction").split("\n")[:2] == ["red", "probability 93.1 %"]


def test_a_number_comes_with_its_interval_and_its_warning(page, ml):
    ml.body = json.dumps(
        {"predicted_price": 1234.5, "predicted_price_low": 1000, "predicted_price_high": 1500,
         "warning": HOSTILE, "model_version": "7"}
    ).encode()  # fmt: skip
    page.set("#model", "houses")
    page.until("document.querySelector('[name=sold]')")
    page.set("#interval", "90")
    page.set("[name=rooms]", "")
    page.click("#predict button")
    page.until("document.querySelector('#prediction').innerText")
    (body,) = bodies(ml, "/models/houses/predict?interval=90")

    assert body["rooms"] is None
    said = page.text("#prediction")
    assert "between 1,000 and 1,500" in said
    assert HOSTILE in said


def test_a_sheet_goes_to_the_model_that_its_columns_say_or_that_is_chosen(page, store, tmp_path):
    cars = tmp_path / "cars.xlsx"
    cars.write_bytes(workbook())
    page.choose_file("#file", cars)
    until(store, lambda: len(store.recent()) == 1)
    houses = tmp_path / "houses.xlsx"
    fields = [feature["name"] for feature in HOUSES["features"]]
    houses.write_bytes(workbook([1] * len(fields), header=fields))
    page.set("#model", "houses")
    page.until("document.querySelector('[name=sold]')")
    page.set("#scored-by", "houses")
    page.set("#interval", "80")
    page.choose_file("#file", houses)
    until(store, lambda: len(store.recent()) == 2)
    newest, first = store.recent()

    assert (first.model, first.interval) == ("used_cars", 0)
    assert (newest.model, newest.interval) == ("houses", 80)


def test_a_model_is_trained_from_a_file_and_its_scores_are_shown(page, store, tmp_path):
    table = tmp_path / "sales.csv"
    table.write_text(f"area,price,{HOSTILE}\n10,100,x\n")
    page.choose_file("#train-file", table)
    page.until("document.querySelector('#train-columns').children.length === 3")
    page.click("#train button")
    page.until("document.querySelector('#train-target-wrong').innerText")
    assert store.recent() == []
    page.set("#train-target", "price")
    page.set("#train-name", "houses")
    assert page.text("#train-name-hint") == "Makes a new version of houses."
    page.click("#train button")
    until(store, lambda: store.recent() != [])
    (job,) = store.recent()
    (claim,) = store.claim([job.job_id], "test", 30.0)
    scores = {"chosen": HOSTILE, "model": {"r2": 0.9, "mae": 12.5}, "baseline": {"r2": 0.0}}
    result = {"name": "houses", "version": "2", "replaced": "1", "groups": {"all": scores}}
    store.settle([Outcome(claim=claim, status=Status.DONE, result=msgspec.json.encode(result))])
    page.until("document.querySelector('#trainings .scores')")

    said = page.text("#trainings")
    assert f"as version 2, in place of 1. Best of what was compared: {HOSTILE}." in said
    assert "mean error\t12.5\t-" in said
    assert page.run("document.querySelector('#trainings a').pathname") == "/models/houses/report"
    page.until("document.querySelector('[aria-label=\"Scores of houses\"]')")


def test_a_training_that_fails_says_why(page, store, tmp_path):
    table = tmp_path / "sales.parquet"
    table.write_bytes(b"PAR1")
    page.choose_file("#train-file", table)
    page.set("#train-target", "price")
    page.click("#train button")
    until(store, lambda: store.recent() != [])
    (claim,) = store.claim([store.recent()[0].job_id], "test", 30.0)
    store.settle([Outcome(claim=claim, status=Status.FAILED, error=f"no column {HOSTILE}")])
    page.until("document.querySelector('#trainings .error')")

    assert page.text("#trainings .error") == f"no column {HOSTILE}"


@pytest.mark.parametrize(
    ("button", "path", "sent"),
    [
        ("Use", "reload", {"version": "20251201T000000Z"}),
        ("Canary 10 %", "canary", {"version": "20251201T000000Z", "percent": 10}),
        ("Roll back", "rollback", {}),
    ],
)
def test_versions_are_chosen_by_one_call_each(page, ml, button, path, sent):
    page.set("[aria-label='Version of houses']", "20251201T000000Z")
    page.click(f"[aria-label='{button}: houses']")
    page.until("document.querySelector('#models-said').innerText")

    assert bodies(ml, f"/models/houses/{path}") == [sent]


def test_every_model_is_listed_with_its_scores_beside_the_trivial_models(page):
    scores = page.run(
        "[...document.querySelectorAll('#models .scores tbody')].map((b) => b.innerText)"
    )
    assert len(scores) == 3
    page.click("#models summary")
    page.until("document.querySelector('#models .scores tbody').innerText === 'R²\\t0.5\\t-0.25'")


def test_with_one_model_there_is_nothing_to_choose(tab, process):
    tab.open(process.url)
    tab.until("document.querySelector('#predict:not([hidden])')")

    assert tab.run("document.querySelector('#model-choice').hidden")
    assert tab.run("document.querySelector('#scored-by-choice').hidden")
