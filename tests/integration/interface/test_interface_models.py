"""Several models behind one interface: which one a sheet, a task or a record is for."""

import asyncio
import io
import json

import openpyxl
import pytest
import pytest_asyncio

from aimq.jobs.job import Status
from aimq.messages import Kind
from aimq.ml_client.relay import MlRelay
from aimq.schema.model import parse_schema
from interface import schema_cache
from interface.metrics import Metrics
from interface.schema_cache import SchemaCache
from interface.template import write_template
from tests.integration.interface.conftest import serving, settle, upload, workbook
from tests.integration.interface.stub_ml import HOUSES, PREDICTION, SOURCE, WINE

HOUSE = {"area": 80, "sold": "2024-05-31"}


@pytest.fixture
def ml(ml):
    ml.sources |= {"houses": HOUSES, "wine": WINE}
    return ml


@pytest_asyncio.fixture
async def door(settings, broker, store, files, ml):
    async with serving(settings, broker, store, files) as client:
        await client.context.schema.refresh()
        yield client


def house(*rows, header=("area", "sold")):
    return workbook(*(rows or [(80, "2024-05-31")]), header=header)


async def sheet(door, content, query=""):
    return await door.post(f"/upload{query}", files={"file": ("a.xlsx", content)})


# which model a sheet is for


@pytest.mark.parametrize(
    ("content", "model"),
    [
        (workbook(), "used_cars"),
        (house(), "houses"),
        (house(header=("SOLD", " Area ")), "houses"),
        (workbook((12,), header=["alcohol"]), "wine"),
        (workbook(("A", "Asta", 1, 4, 80, "2024-05-31"),
                  header=["model_group", "model", "kilometers", "doors", "area", "sold"]),
         "used_cars"),
    ],
    ids=["the default's columns", "of another", "in another order", "of classes", "of several"],
)  # fmt: skip
async def test_a_sheet_goes_to_the_model_whose_columns_it_has(door, store, content, model):
    accepted = (await sheet(door, content)).json()

    assert accepted["model"] == model
    assert store.get(accepted["job_id"]).model == model
    assert (await door.get(accepted["status_url"])).json()["model"] == model


async def test_a_sheet_for_several_that_are_not_the_default_is_asked_back(door, files):
    both = workbook((80, "2024-05-31", 12), header=["area", "sold", "alcohol"])
    answer = await sheet(door, both)

    assert answer.status_code == 422
    assert "houses, wine" in answer.json()["detail"]
    assert list(files.keys("uploads")) == []
    assert (await sheet(door, both, "?model=wine")).json()["model"] == "wine"


async def test_a_sheet_for_none_is_held_against_the_default(door):
    answer = await sheet(door, workbook(("A",), header=["model_group"]))

    assert answer.status_code == 422
    assert "lacks 3 of 4 columns: model, kilometers, doors" in answer.json()["detail"]


async def test_a_named_model_is_the_one_whose_columns_are_needed(door, store):
    answer = await sheet(door, workbook(), "?model=houses")

    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {"area", "sold"}
    assert (await sheet(door, house(), "?model=houses")).json()["model"] == "houses"


@pytest.mark.parametrize("name", ["castles", "..", "a%2Fb", "x" * 200, "%0d%0aX: y", "%ff"])
async def test_an_unknown_model_is_not_found_with_the_names_there_are(door, ml, name):
    answer = await sheet(door, workbook(), f"?model={name}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert {path for path, *_ in ml.asked} <= {
        "/models", *(f"/models/{known}/schema" for known in ml.sources)
    }  # fmt: skip
    if name == "castles":
        assert "there are: houses, used_cars, wine" in answer.json()["detail"]


async def test_a_model_that_is_published_a_moment_ago_is_found(door, ml):
    ml.sources["castles"] = HOUSES | {"features": [{"name": "towers", "type": "number"}]}
    content = workbook((3,), header=["towers"])

    assert (await sheet(door, content, "?model=castles")).json()["model"] == "castles"
    ml.sources["forts"] = HOUSES | {"features": [{"name": "walls", "type": "number"}]}
    assert (await sheet(door, workbook((3,), header=["walls"]))).json()["model"] == "forts"


async def test_a_model_that_is_withdrawn_is_forgotten(door, ml):
    del ml.sources["houses"]
    await door.context.schema.refresh()

    assert (await sheet(door, house())).status_code == 422
    assert (await sheet(door, house(), "?model=houses")).status_code == 404


async def test_while_the_ml_service_is_away_the_last_schemas_hold(door, ml, store):
    ml.stop()

    assert (await sheet(door, house())).json()["model"] == "houses"
    unsure = (await sheet(door, house(), "?model=castles")).json()
    assert store.get(unsure["job_id"]).model == "castles"


async def test_an_ml_service_that_hangs_is_not_waited_for_long(monkeypatch):
    class Hanging:
        async def get(self, _path):
            await asyncio.Event().wait()

    monkeypatch.setattr(schema_cache, "ASKED_SECONDS", 0.01)
    known = SchemaCache(Hanging(), Metrics())
    assert await known.find("houses") is None
    assert not await known.refresh_if_possible()


async def test_before_the_ml_service_was_seen_the_worker_chooses(
    settings, broker, store, files, ml
):
    ml.stop()
    async with serving(settings, broker, store, files) as door:
        chosen, named = await sheet(door, house()), await sheet(door, house(), "?model=houses")

    assert (chosen.json()["model"], named.json()["model"]) == ("", "houses")


# intervals


async def test_an_interval_is_kept_with_the_job(door, store):
    accepted = (await sheet(door, house(), "?interval=90")).json()
    job = store.get(accepted["job_id"])

    assert (job.model, job.interval) == ("houses", 90)


@pytest.mark.parametrize("interval", ["49", "100", "90.5", "", "wide"])
async def test_an_interval_is_a_whole_number_from_50_to_99(door, interval):
    answer = await sheet(door, house(), f"?interval={interval}")

    assert answer.status_code == 422
    assert "interval" in answer.json()["detail"]


async def test_classes_have_no_interval(door):
    answer = await sheet(door, workbook((12,), header=["alcohol"]), "?interval=90")

    assert answer.status_code == 422
    assert "classes" in answer.json()["detail"]


# what is asked of the ML service


@pytest_asyncio.fixture
async def models(ml):
    """What an interface knows that asks for nothing by itself."""
    relay = MlRelay(ml.url, "", 5.0)
    known = SchemaCache(relay, Metrics())
    await known.refresh()
    ml.asked.clear()
    yield known
    relay.close()


async def test_a_schema_is_asked_for_again_when_its_version_changes_only(models, ml):
    await models.refresh()
    assert [path for path, *_ in ml.asked] == ["/models"]

    ml.version = "20260202T000000Z"
    ml.sources["wine"] = WINE | {"title": "Better wine"}
    await models.refresh()
    assert len([path for path, *_ in ml.asked if path.endswith("/schema")]) == 3
    assert (await models.find("wine")).schema.title == "Better wine"


async def test_a_schema_of_another_version_than_the_list_names_is_asked_for_again(models, ml):
    """Worker processes of the ML service may be a moment apart."""
    ml.version, ml.schemas_of = "20260202T000000Z", ml.version
    await models.refresh()
    ml.schemas_of = ""
    ml.sources["wine"] = WINE | {"title": "Better wine"}
    await models.refresh()
    ml.asked.clear()
    await models.refresh()

    assert (await models.find("wine")).schema.title == "Better wine"
    assert [path for path, *_ in ml.asked] == ["/models"]


async def test_one_schema_that_cannot_be_understood_spoils_no_other(door, ml):
    ml.sources["damaged"] = {"name": "damaged", "features": [{"name": "x"}]}
    ml.version = "20260202T000000Z"
    ml.sources["used_cars"] = SOURCE | {"title": "Newer"}
    with pytest.raises(Exception, match="damaged/schema of the ML service cannot be understood"):
        await door.context.schema.refresh()

    assert door.context.schema.schema.title == "Newer"


async def test_the_document_describes_every_model(door):
    schemas = (await door.get("/openapi.json")).json()["components"]["schemas"]

    assert list(schemas["Record"]["properties"]) == ["model_group", "model", "kilometers", "doors"]
    titles = [record["title"] for record in schemas["AnyRecord"]["anyOf"]]
    assert titles == ["Used cars", "Houses", "Wine"]
    answers = [next(iter(each["properties"])) for each in schemas["AnyPrediction"]["anyOf"]]
    assert answers == ["predicted_price", "predicted_price", "predicted_kind"]


# single records


async def test_a_record_goes_to_the_model_of_the_path(door, ml):
    answer = await door.post("/models/houses/predict?interval=90&more=1", content=b'{"area": 1}')

    assert (answer.status_code, answer.json()) == (200, PREDICTION)
    assert answer.headers["x-served-by"] == "onnxruntime"
    path, head, body = ml.asked[-1]
    assert (path, body) == ("/models/houses/predict?interval=90", b'{"area": 1}')
    assert b"traceparent: 00-" in head
    assert 'aimq_predictions_total{status="200"} 1.0' in (await door.get("/metrics")).text


async def test_the_default_takes_an_interval_too(door, ml):
    await door.post("/predict?interval=9%200%0d%0a", content=b"{}")
    assert ml.asked[-1][0] == "/predict/onnx?interval=9%200%0D%0A"


@pytest.mark.parametrize("name", ["%2e%2e", "a%2Fb", "a%5Cb", "%0d%0aX:%20y", "%00", "a%3Fb"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("what", ["predict", "schema", "report", "rollback"])
async def test_a_name_cannot_lead_to_another_path(door, ml, method, name, what):
    known = {"/models", *(f"/models/{known}/schema" for known in ml.sources)}  # asked at the start
    url = f"http://localhost/models/{name}/{what}"
    answer = await door.request(method, url, content=b"{}")

    assert answer.status_code in {404, 405}
    assert {path for path, *_ in ml.asked} <= known


# tasks


async def test_a_task_is_for_the_model_it_names(door, store):
    accepted = await door.post("/predict/async?model=houses", json=HOUSE | {"note": "x"})
    job = store.get(accepted.json()["task_id"])

    assert accepted.status_code == 202
    assert (job.model, json.loads(job.input)) == ("houses", HOUSE)


async def test_a_task_is_checked_against_its_own_model(door):
    wrong = await door.post("/predict/async?model=wine", json={"alcohol": 1000})
    unknown = await door.post("/predict/async?model=castles", json={})

    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "alcohol")
    assert (unknown.status_code, "houses" in unknown.json()["detail"]) == (404, True)


async def test_a_key_used_for_another_model_is_refused(door):
    headers = {"Idempotency-Key": "k"}
    record = HOUSE | {"alcohol": 1}
    first = await door.post("/predict/async?model=houses", json=record, headers=headers)
    again = await door.post("/predict/async?model=houses", json=record, headers=headers)
    other = await door.post("/predict/async?model=wine", json=record, headers=headers)

    assert first.json()["task_id"] == again.json()["task_id"]
    assert other.status_code == 422


# the rest of /models


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/models/houses"), ("GET", "/models/houses/drift"),
        ("GET", "/models/castles/schema"),
        ("POST", "/models/reload"), ("POST", "/models/houses/reload"),
        ("POST", "/models/houses/rollback"), ("POST", "/models/houses/canary"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 404, 409, 422, 503])
async def test_what_is_asked_of_a_model_is_relayed_with_its_status(door, ml, method, path, status):
    ml.status, ml.body = status, b'{"detail": "as it is"}'
    ml.headers = {"content-type": "application/problem+json", "Retry-After": "3", "x-inner": "y"}
    answer = await door.request(method, path, content=b'{"version": "v1"}')

    assert (answer.status_code, answer.content) == (status, ml.body)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "3"
    assert "x-inner" not in answer.headers
    asked = [(each, body) for each, _, body in ml.asked if each == path]
    assert asked == [(path, b'{"version": "v1"}' if method == "POST" else b"")]


async def test_a_report_keeps_its_policy(door, ml):
    policy = "default-src 'none'; sandbox"
    ml.body = b"<!doctype html>"
    ml.headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": policy}
    answer = await door.get("/models/houses/report")

    assert (answer.content, answer.headers["content-type"]) == (
        b"<!doctype html>", "text/html; charset=utf-8",
    )  # fmt: skip
    assert answer.headers["content-security-policy"] == policy


async def test_the_list_is_the_ml_services(door):
    listed = (await door.get("/models")).json()
    assert [model["name"] for model in listed["models"]] == ["used_cars", "houses", "wine"]


async def test_who_may_not_call_changes_nothing(settings, broker, store, files, ml):
    keys = settings.model_copy(update={"api_keys": frozenset({"right"}), "internal_token": "inner"})
    async with serving(keys, broker, store, files) as door:
        path = "/models/houses/rollback"
        right = {"X-API-Key": "right"}
        refused = [
            (await door.post(path)).status_code,
            (await door.post(path, headers=right | {"Sec-Fetch-Site": "cross-site"})).status_code,
            (await door.post(path, headers=right | {"Origin": "http://evil.test"})).status_code,
        ]
        assert path not in [asked for asked, *_ in ml.asked]
        assert (await door.post(path, headers=right)).status_code == 200

    assert refused == [401, 403, 403]
    assert b"Authorization: Bearer inner" in ml.asked[-1][1]
    assert b"right" not in ml.asked[-1][1]


async def test_a_body_over_the_bound_is_refused(door, ml):
    assert (await door.post("/models/houses/canary", content=b"x" * 5000)).status_code == 413
    assert ml.asked[-1][0] != "/models/houses/canary"


# jobs of other kinds


async def test_jobs_without_a_model_say_so(door, store):
    record = {"model_group": "A", "model": "Asta", "kilometers": 1, "doors": 4}
    task = (await door.post("/predict/async", json=record)).json()
    settle(store, task["task_id"], Status.DONE)
    (job,) = (await door.get("/jobs")).json()
    assert (job["kind"], job["model"]) == (Kind.PREDICTION, "")
    assert (await upload(door)).json()["model"] == "used_cars"


# a workbook to fill in


@pytest.mark.parametrize("name", ["used_cars", "houses", "wine"])
async def test_the_template_of_a_model_is_a_sheet_for_it(door, name):
    answer = await door.get(f"/models/{name}/template")

    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}_template.xlsx"'
    assert (await sheet(door, answer.content)).json()["model"] == name


async def test_there_is_no_template_of_a_model_that_is_not_there(door):
    answer = await door.get("/models/castles/template")

    assert answer.status_code == 404
    assert "houses" in answer.json()["detail"]


def test_names_in_a_template_are_no_formulas_and_dates_are_dates():
    source = {**HOUSES, "features": [{"name": "=1+1", "type": "number"}, HOUSES["features"][2]]}
    content = io.BytesIO(write_template(parse_schema(source)))
    header, row = openpyxl.load_workbook(content).active.iter_rows()

    assert [(cell.value, cell.data_type) for cell in header] == [("=1+1", "s"), ("sold", "s")]
    assert row[1].is_date
