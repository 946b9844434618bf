"""The client of the ML service, against a real HTTP server with real faults."""

import threading
from contextlib import closing

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from aimq import errors
from aimq.ml_client.blocking import ARROW, MlClient
from aimq.settings import load_settings
from tests.ml_stand_in import Fault, ml_stand_in, prices
from tests.system import free_ports

TABLE = pd.DataFrame({"kilometers": [1.0, 2.0, 3.0], "age_in_months": [4.0, 5.0, 6.0]})
ARROW_TABLE = pa.Table.from_pandas(TABLE, preserve_index=False)


@pytest.fixture
def ml():
    with ml_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def client(ml):
    settings = load_settings(ml_url=ml.url, internal_token="s3cret", ml_timeout_seconds=5)
    with closing(MlClient(settings)) as client:
        yield client


def test_a_table_comes_back_row_by_row(ml, client):
    ml.refuse = lambda table: [None, "doors: is missing", None]
    scored = client.predict_table(ARROW_TABLE)
    expected = prices(TABLE).copy()
    expected[1] = np.nan
    np.testing.assert_array_equal(scored.predictions, expected)
    assert scored.errors.tolist() == [None, "doors: is missing", None]
    assert scored.versions.tolist() == ["v1", None, "v1"]


def test_the_internal_token_and_the_media_type_are_sent(ml, client):
    client.predict_table(ARROW_TABLE)
    [(path, headers, _)] = ml.requests
    assert path == "/predict/onnx"
    assert headers["Content-Type"] == ARROW
    assert headers["Authorization"] == "Bearer s3cret"


def test_records_come_back_in_order(client):
    records = [{"model_group": "A", "kilometers": k, "age_in_months": 1} for k in (5, 3, 4)]
    answers = client.predict_records(records)
    assert [a["predicted_price"] for a in answers] == prices(pd.DataFrame(records)).tolist()


def test_the_schema_is_the_services(ml, client):
    assert client.schema() == ml.schema


HOUSES = {
    "name": "houses",
    "group": {"name": "region", "values": ["north"]},
    "target": {"name": "price"},
    "features": [{"name": "kilometers", "type": "number"}],
}
KINDS = {
    **HOUSES,
    "name": "kinds",
    "target": {"name": "kind", "task": "classification", "classes": ["a", "b"]},
    "warn": True,
}


def test_a_named_model_is_asked_by_its_own_path(ml, client):
    ml.others["houses"] = HOUSES
    scored = client.predict_table(ARROW_TABLE, "houses", 90)
    assert ml.requests[-1][0] == "/models/houses/predict?interval=90"
    assert scored.predictions.tolist() == [10, 20, 30]
    assert (scored.low.tolist(), scored.high.tolist()) == ([9, 19, 29], [11, 21, 31])
    assert (scored.probability, scored.warnings) == (None, None)
    assert client.predict_records([{"kilometers": 2}], "houses")[0]["prediction"] == 20


def test_classes_come_as_text_with_their_probability(ml, client):
    ml.others["kinds"] = KINDS
    ml.refuse = lambda table: [None, "doors: is missing", None]
    scored = client.predict_table(ARROW_TABLE, "kinds")
    assert scored.predictions.tolist() == ["b", None, "b"]
    np.testing.assert_array_equal(scored.probability, [0.75, np.nan, 0.75])
    assert scored.warnings.tolist() == [None] * 3
    assert (scored.low, scored.high) == (None, None)


def test_an_answer_without_the_interval_that_was_asked_for_is_refused(ml, client):
    ml.others["kinds"] = KINDS
    with pytest.raises(errors.Invalid, match="no prediction intervals"):
        client.predict_table(ARROW_TABLE, "kinds", 90)


def test_a_name_stays_one_part_of_the_path(ml, client):
    with pytest.raises(errors.NotFound):
        client.predict_table(ARROW_TABLE, "a/b?c=d\r\n")
    assert ml.requests[-1][0] == "/models/a%2Fb%3Fc%3Dd%0D%0A/predict"


def test_models_and_their_schemas_are_the_services(ml, client):
    ml.others["houses"] = HOUSES
    assert [(m.name, m.default) for m in client.models()] == [
        ("used_cars", True),
        ("houses", False),
    ]
    assert client.models()[1].required == ("region", "kilometers")
    assert client.schema("houses").name == "houses"


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.schema("houses"),
        lambda client: client.predict_table(ARROW_TABLE, "houses"),
        lambda client: client.predict_records([{}], "houses"),
    ],
)
def test_a_model_that_is_not_there_any_more_is_named(client, call):
    with pytest.raises(errors.NotFound, match=r"'houses' is not published any more\. There are"):
        call(client)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.ClientError),
        (401, errors.Unauthorized),
        (404, errors.NotFound),
        (413, errors.TooLarge),
        (415, errors.UnsupportedMedia),
        (422, errors.Invalid),
        (429, errors.RateLimited),
        (500, errors.MlUnavailable),
        (502, errors.MlUnavailable),
        (503, errors.Overloaded),
        (504, errors.TimedOut),
    ],
)
def test_each_status_is_an_error_of_its_own(ml, client, status, kind):
    body = b'{"detail": "say what to do", "errors": [{"field": "doors"}]}'
    ml.faults.append(Fault(status, {"Retry-After": "7"}, body))
    with pytest.raises(errors.AimqError, match="say what to do") as caught:
        client.predict_table(ARROW_TABLE)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("soon", None), ("-1", None), ("inf", None), ("nan", None)],
)
def test_retry_after_is_taken_when_it_makes_sense(ml, client, header, seconds):
    ml.faults.append(Fault(503, {"Retry-After": header}, b"busy"))
    with pytest.raises(errors.Overloaded) as caught:
        client.predict_table(ARROW_TABLE)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize("body", [b"garbage", b"{}", b"\xff\xff\xff\xff\x00\x00\x00\x00", b"[1]"])
def test_nonsense_is_a_passing_condition_and_no_crash(ml, client, body):
    ml.faults.extend([Fault(body=body)] * 2)
    with pytest.raises(errors.MlUnavailable, match="out of form"):
        client.predict_table(ARROW_TABLE)
    with pytest.raises(errors.MlUnavailable, match="out of form"):
        client.predict_records([{"a": 1}, {"a": 2}])


def test_an_answer_of_another_length_is_nonsense(ml, client):
    short = ml.score(client_stream(ARROW_TABLE.slice(0, 2)))
    ml.faults.append(Fault(body=short))
    with pytest.raises(errors.MlUnavailable, match="2 rows for 3"):
        client.predict_table(ARROW_TABLE)


def client_stream(table):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_a_connection_cut_in_the_middle_is_a_passing_condition(ml, client):
    ml.faults.append(Fault(cut=True))
    with pytest.raises(errors.MlUnavailable):
        client.predict_table(ARROW_TABLE)
    assert len(client.predict_table(ARROW_TABLE).predictions) == 3


def test_no_answer_in_time_is_said(ml):
    release = threading.Event()
    ml.faults.append(Fault(before=lambda: release.wait(10)))
    settings = load_settings(ml_url=ml.url, ml_timeout_seconds=0.1)
    with closing(MlClient(settings)) as client, pytest.raises(errors.TimedOut, match=r"0\.1 s"):
        client.predict_table(ARROW_TABLE)
    release.set()


def test_nobody_there_is_said_with_the_address():
    [port] = free_ports(1)
    settings = load_settings(ml_url=f"http://127.0.0.1:{port}")
    with (
        closing(MlClient(settings)) as client,
        pytest.raises(errors.MlUnavailable, match=str(port)),
    ):
        client.check()


def test_threads_share_the_client(client):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(client.predict_table(ARROW_TABLE)))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.predictions.tolist() for r in results] == [prices(TABLE).tolist()] * 16
