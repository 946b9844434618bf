"""The Open Inference Protocol: the same predictions by tensors, and its own form of errors."""

from __future__ import annotations

import pytest

from aimq.settings import Settings

MODEL = "/v2/models/used_cars"


@pytest.fixture
async def service(serve, trained_models):
    async with serve(Settings(models_dir=trained_models)) as service:
        yield service


def tensors(rows: list[dict], *, column: bool = False) -> list[dict]:
    shape = [len(rows), 1] if column else [len(rows)]
    return [
        {
            "name": name,
            "shape": shape,
            "datatype": "BYTES" if isinstance(rows[0][name], str) else "INT64",
            "data": [[row[name]] if column else row[name] for row in rows],
        }
        for name in rows[0]
    ]


@pytest.mark.parametrize(("count", "column"), [(1, False), (7, True), (300, False)])
async def test_it_predicts_what_the_other_endpoint_predicts(service, records, count, column):
    rows = records(count, seed=2)
    body = {"id": "42", "inputs": tensors(rows, column=column)}
    answer = await service.post(f"{MODEL}/infer", json=body)
    assert answer.status_code == 200, answer.text
    expected = (await service.post("/predict/onnx", json=rows)).json()
    body = answer.json()
    assert (body["id"], body["model_name"]) == ("42", "used_cars")
    output = body["outputs"][0]
    assert (output["name"], output["datatype"], output["shape"]) == (
        "predicted_price", "FP64", [count],
    )  # fmt: skip
    assert output["data"] == [item["predicted_price"] for item in expected]
    version = f"{MODEL}/versions/{body['model_version']}/infer"
    assert (await service.post(version, json={"inputs": tensors(rows)})).status_code == 200


async def test_health_and_metadata(service):
    assert (await service.get("/v2")).json()["name"] == "aimq"
    assert (await service.get("/v2/health/live")).json() == {"live": True}
    assert (await service.get("/v2/health/ready")).json() == {"ready": True}
    assert (await service.get(f"{MODEL}/ready")).status_code == 200
    body = (await service.get(MODEL)).json()
    inputs = {tensor["name"]: tensor["datatype"] for tensor in body["inputs"]}
    assert len(inputs) == 12
    assert inputs["model_group"] == inputs["color"] == "BYTES"
    assert inputs["age_in_months"] == "INT64"
    assert body["outputs"] == [{"name": "predicted_price", "datatype": "FP64", "shape": [-1]}]
    assert (await service.get(f"{MODEL}/versions/{body['versions'][0]}")).json() == body


@pytest.mark.parametrize("path", ["/v2/models/none", f"{MODEL}/versions/none"])
async def test_an_unknown_model_or_version_is_a_404_of_the_protocol(service, records, path):
    body = {"inputs": tensors(records(1))}
    for answer in (await service.get(path), await service.post(f"{path}/infer", json=body)):
        assert answer.status_code == 404
        assert list(answer.json()) == ["error"]


def without(name):
    return lambda body: {"inputs": [item for item in body["inputs"] if item["name"] != name]}


def changed(name, **change):
    return lambda body: {
        "inputs": [{**item, **change} if item["name"] == name else item for item in body["inputs"]]
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("age_in_months"), "age_in_months"),
        (changed("age_in_months", datatype="BYTES"), "number type"),
        (changed("color", datatype="FP32"), "BYTES"),
        (changed("age_in_months", shape=[3]), "shape"),
        (changed("age_in_months", shape=[]), "shape"),
        (changed("age_in_months", data=[3]), "1 values"),
        (changed("age_in_months", data=[3, -5]), "row 1: age_in_months"),
        (changed("color", data=["octarine", [1, 2]]), "row 0: color"),
        (lambda _: {"inputs": []}, "missing"),
        (lambda _: {}, "inputs"),
        (lambda _: [], "object"),
        (lambda body: {**body, "outputs": [{"name": "x"}]}, "output"),
    ],
)
async def test_a_wrong_request_is_a_400_that_says_what_is_wrong(service, records, change, said):
    body = change({"inputs": tensors(records(2, seed=6))})
    answer = await service.post(f"{MODEL}/infer", json=body)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


async def test_binary_tensors_are_refused_not_misread(service):
    answer = await service.post(
        f"{MODEL}/infer", content=b"{}\0\0", headers={"inference-header-content-length": "2"}
    )
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]
