"""Uploads for several models: the handler on real files and stores, the ML service a stand-in."""

from contextlib import ExitStack, closing

import openpyxl
import pytest

from aimq.broker.port import Delivery
from aimq.errors import Invalid, NotFound, WorkbookError
from aimq.files import connect_files
from aimq.files.keys import upload_key
from aimq.jobs.connect import connect_store
from aimq.jobs.job import Job, Status
from aimq.messages import Kind, Message
from aimq.ml_client.blocking import MlClient
from aimq.settings import load_settings
from aimq.workbook.reader import WorkbookReader
from batch_processor.disposition import outcome
from batch_processor.memory_budget import MemoryBudget
from batch_processor.spreadsheets import SpreadsheetHandler
from batch_processor.work import Work
from tests.ml_stand_in import ml_stand_in

HOUSES = {
    "name": "houses",
    "warn": True,
    "target": {"name": "price", "prediction": "predicted_price"},
    "features": [
        {"name": "area", "type": "number", "minimum": 0, "maximum": 1000},
        {"name": "rooms", "type": "integer", "blank": True, "fill": 3},
    ],
}
WINES = {
    "name": "wines",
    "target": {"name": "kind", "prediction": "predicted_kind", "task": "classification",
               "classes": ["red", "white"]},
    "group": {"name": "region", "values": ["north", "south"]},
    "features": [{"name": "alcohol", "type": "number"}],
}  # fmt: skip


class Site:
    def __init__(self, ml, tmp_path, stack):
        settings = load_settings(data_dir=tmp_path / "data", ml_url=ml.url)
        self.files, self.store = connect_files(settings), stack(connect_store(settings))
        client, reader = stack(MlClient(settings)), stack(WorkbookReader(64))
        memory = MemoryBudget(2**30, 1)
        self.handler = SpreadsheetHandler(self.files, client, reader, memory, settings)

    def upload(self, tmp_path, *rows, **named):
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(tmp_path / "upload.xlsx")
        (job,) = self.store.create([Job(kind=Kind.SPREADSHEET, **named)])
        with (tmp_path / "upload.xlsx").open("rb") as file:
            self.files.put(upload_key(job.job_id), file)
        (claim,) = self.store.claim([job.job_id], "worker", 60.0)
        delivery = Delivery(queue="q", body=b"", message_id=job.job_id)
        return Work(delivery, Message(job_id=job.job_id, kind=job.kind), claim, self.store)

    def score(self, work):
        """Work on an upload as a consumer does; return its job, and the rows of its result."""
        done = self.handler(work)
        assert self.store.settle([outcome(work.claim, done)]) == [True]
        job = self.store.get(work.job.job_id)
        with self.files.local_copy(job.result_key) as path:
            return job, list(openpyxl.load_workbook(path).active.values)


@pytest.fixture
def ml():
    with ml_stand_in() as stand_in:
        stand_in.others = {"houses": HOUSES, "wines": WINES}
        yield stand_in


@pytest.fixture
def site(ml, tmp_path):
    with ExitStack() as stack:
        yield Site(ml, tmp_path, lambda resource: stack.enter_context(closing(resource)))


def test_a_sheet_is_scored_by_the_model_that_its_job_names(site, ml, tmp_path):
    work = site.upload(tmp_path, ["area", "note"], [50, "a"], ["many", "b"], model="houses",
                       interval=90)  # fmt: skip
    job, rows = site.score(work)
    assert rows[0] == ("area", "note", "predicted_price", "predicted_price_low",
                       "predicted_price_high", "warning", "error")  # fmt: skip
    assert rows[1] == (50, "a", 500, 499, 501, None, None)
    assert rows[2][:6] == ("many", "b", None, None, None, None)
    assert rows[2][6].startswith("area: 'many' is not a number")
    assert (job.status, job.model, job.model_versions) == (Status.DONE, "houses", {"all": "v1"})
    assert {path for path, *_ in ml.requests} == {"/models/houses/predict?interval=90"}


def test_classes_and_their_probability_are_columns_of_the_result(site, tmp_path):
    work = site.upload(tmp_path, ["Alcohol", "region"], [12, "north"], [13, "south"], model="wines")
    job, rows = site.score(work)
    assert rows[0][2:] == ("predicted_kind", "probability", "error")
    assert [row[2:] for row in rows[1:]] == [("red", 0.75, None), ("white", 0.75, None)]
    assert job.model_versions == {"north": "v1", "south": "v1"}


@pytest.mark.parametrize(
    ("header", "row", "model"),
    [(["rooms", "area"], [3, 50], "houses"), (["region", "alcohol"], ["north", 12], "wines")],
)
def test_a_job_without_a_model_gets_the_one_whose_columns_the_sheet_has(
    site, tmp_path, header, row, model
):
    """As one is that was uploaded while nobody knew the models."""
    job, rows = site.score(site.upload(tmp_path, header, row))
    assert job.model == model
    assert site.store.recent()[0].model == model
    assert rows[1][-1] is None


def test_a_sheet_for_no_model_is_held_against_the_default(site, tmp_path):
    with pytest.raises(WorkbookError, match=r"lacks 1\d of 1\d columns"):
        site.handler(site.upload(tmp_path, ["colour"], ["red"]))


def test_a_sheet_for_several_models_fails_with_what_to_do(site, tmp_path):
    work = site.upload(tmp_path, ["area", "alcohol", "region"], [50, 12, "north"])
    with pytest.raises(Invalid, match=r"houses, wines\. Say which"):
        site.handler(work)


def test_without_a_default_the_models_there_are_listed(site, ml, tmp_path, monkeypatch):
    listed = ml.models()
    listed["models"] = listed["models"][1:]
    monkeypatch.setattr(ml, "models", lambda: listed)
    with pytest.raises(WorkbookError, match="no model; there are: houses, wines"):
        site.handler(site.upload(tmp_path, ["colour"], ["red"]))


def test_a_model_that_was_withdrawn_since_the_upload_is_named(site, ml, tmp_path):
    work = site.upload(tmp_path, ["area"], [50], model="houses")
    del ml.others["houses"]
    with pytest.raises(NotFound, match="'houses' is not published any more"):
        site.handler(work)
