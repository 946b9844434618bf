"""The Open Inference Protocol as a client that others wrote speaks it: NVIDIA's tritonclient."""

from __future__ import annotations

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from benchmarks.service import ml_service

MODEL = "used_cars"
PRICE = "predicted_price"
DTYPES = {"BYTES": np.object_, "INT64": np.int64, "FP64": np.float64}


@pytest.fixture(scope="module")
def url(trained_models, tmp_path_factory):
    with ml_service(trained_models, tmp_path_factory.mktemp("v2")) as service:
        yield service.url


@pytest.fixture
def client(url):
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


@pytest.fixture
def inputs(client):
    """Makes the tensors of records as the server's own metadata describes them."""

    def make(rows: list[dict]) -> list[triton.InferInput]:
        tensors = []
        for told in client.get_model_metadata(MODEL)["inputs"]:
            tensor = triton.InferInput(told["name"], [len(rows)], told["datatype"])
            values = np.array([row[told["name"]] for row in rows], DTYPES[told["datatype"]])
            tensor.set_data_from_numpy(values, binary_data=False)
            tensors.append(tensor)
        return tensors

    return make


def test_server_and_model_are_live_and_ready(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert not client.is_model_ready("none")


def test_metadata_names_the_server_the_version_and_the_tensors(client):
    assert client.get_server_metadata()["name"] == "aimq"
    told = client.get_model_metadata(MODEL)
    assert client.get_model_metadata(MODEL, told["versions"][0]) == told
    assert {tensor["datatype"] for tensor in told["inputs"]} == {"BYTES", "INT64"}
    assert told["outputs"] == [{"name": PRICE, "datatype": "FP64", "shape": [-1]}]


@pytest.mark.parametrize("count", [1, 40])
def test_numbers_and_strings_are_answered_as_by_the_other_endpoint(
    url, client, inputs, records, count
):
    rows = records(count, seed=21)
    wanted = triton.InferRequestedOutput(PRICE, binary_data=False)
    answer = client.infer(MODEL, inputs(rows), outputs=[wanted], request_id="7")
    expected = httpx.post(f"{url}/predict/onnx", json=rows, timeout=60).json()
    assert answer.get_response()["id"] == "7"
    assert answer.get_response()["model_version"] == expected[0]["model_version"]
    assert answer.as_numpy(PRICE).tolist() == [row[PRICE] for row in expected]


def test_outputs_need_not_be_named(client, inputs, records):
    answer = client.infer(MODEL, inputs(records(2, seed=22)))
    assert answer.as_numpy(PRICE).shape == (2,)


def test_errors_reach_the_caller_as_the_protocols(client, inputs, records):
    tensors = inputs(records(2, seed=23))
    with pytest.raises(InferenceServerException, match="Inputs missing") as refused:
        client.infer(MODEL, tensors[:-1])
    assert refused.value.status() == "400"
    with pytest.raises(InferenceServerException) as unknown:
        client.infer("none", tensors)
    assert unknown.value.status() == "404"
    wrong = inputs([{**records(1, seed=24)[0], "age_in_months": -3}])
    with pytest.raises(InferenceServerException, match="row 0: age_in_months"):
        client.infer(MODEL, wrong)


def test_binary_tensors_which_the_server_does_not_announce_are_refused(client, inputs, records):
    assert client.get_server_metadata()["extensions"] == []
    tensors = inputs(records(1, seed=25))
    age = next(tensor for tensor in tensors if tensor.name() == "age_in_months")
    age.set_data_from_numpy(np.array([4], np.int64), binary_data=True)
    with pytest.raises(InferenceServerException, match="JSON"):
        client.infer(MODEL, tensors)
