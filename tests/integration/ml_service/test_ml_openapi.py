"""What the document promises: nothing that it describes makes a 5xx."""

from __future__ import annotations

import json

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from benchmarks.service import ml_service

#: Answers that schemathesis may get: its own requests are often wrong, ours must not be.
SERVER_ERROR = 500


@pytest.fixture(scope="module")
def process(trained_models, tmp_path_factory):
    environ = {"AIMQ_RATE_LIMIT": "1000000/second"}
    with ml_service(trained_models, tmp_path_factory.mktemp("data"), **environ) as process:
        yield process


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # schemathesis uses what its libraries deprecate
def test_nothing_in_the_document_makes_a_5xx(process):
    with httpx.Client(base_url=process.url, timeout=60) as client:
        document = client.get("/openapi.json").json()
        schema = schemathesis.from_dict(document, base_url=process.url)
        tried = set()
        for result in schema.get_all_operations():
            operation = result.ok()
            _try(client, operation)
            tried.add(operation.path)
    assert {
        "/predict/onnx",
        "/predict/pickle",
        "/models/reload",
        "/v2/models/{model}/infer",
    } <= tried


def _try(client: httpx.Client, operation) -> None:
    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def each(case):
        answer = client.request(**_request(case))
        assert answer.status_code < SERVER_ERROR, answer.text

    each()


def _request(case) -> dict:
    request = {"method": case.method, "url": case.formatted_path, "params": case.query}
    if isinstance(case.body, bytes):
        request["content"] = case.body
    elif case.media_type is not None:
        request["content"] = json.dumps(case.body, default=repr).encode()
    headers = {key: str(value) for key, value in (case.headers or {}).items()}
    request["headers"] = {**headers, "content-type": case.media_type or "application/json"}
    return request


def test_records_are_described_by_the_version_in_service(process):
    document = httpx.get(f"{process.url}/openapi.json").json()
    body = document["paths"]["/predict/onnx"]["post"]["requestBody"]["content"]["application/json"]
    record = body["schema"]["oneOf"][0]
    assert record["properties"]["model_group"]["enum"] == ["A", "B", "C"]
    assert len(record["required"]) == 12
    answer = httpx.post(f"{process.url}/predict/onnx", json=body["example"])
    assert answer.status_code == 200
    promised = document["paths"]["/predict/onnx"]["post"]["responses"]
    assert {"200", "400", "413", "415", "422", "429", "503"} <= set(promised)
