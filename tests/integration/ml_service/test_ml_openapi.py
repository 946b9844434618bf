"""Every operation of the OpenAPI document, asked for with all sorts of values: never a 5xx.

Bodies are arbitrary JSON and bytes, and records that are valid but for some fields, which get past
more of the checks. Every status must be one that the document promises.
"""

from __future__ import annotations

import json
import re
import shutil
from urllib.parse import quote

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.service import ml_service

WORDS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=30),
    st.sampled_from(["used_cars", "none", "../..", "\0", "é", "%", "9" * 400]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(
    ["application/json", "application/vnd.apache.arrow.stream", "text/plain", "application/JSON; x"]
)
#: What a router says of any path, documented or not.
ROUTER = {"404", "405", "307"}


@pytest.fixture(scope="module")
def process(trained_models, tmp_path_factory):
    environ = {"AIMQ_RATE_LIMIT": "1000000/second"}
    # Of its own: versions are chosen at random, and the choice is kept.
    models = shutil.copytree(trained_models, tmp_path_factory.mktemp("models") / "models")
    with ml_service(models, tmp_path_factory.mktemp("data"), **environ) as process:
        yield process


@pytest.fixture(scope="module")
def document(process):
    return httpx.get(f"{process.url}/openapi.json").json()


@pytest.fixture(scope="module")
def example(document):
    return document["components"]["schemas"]["Record"]["example"]


def bodies(example: dict) -> st.SearchStrategy[bytes]:
    """Records and tensors with some fields replaced, any JSON, and any bytes."""
    fields = st.dictionaries(st.sampled_from(sorted(example)), JSON, max_size=3)
    records = fields.map(lambda change: {**example, **change})
    tensor = st.fixed_dictionaries(
        {
            "name": st.sampled_from(sorted(example)) | WORDS,
            "shape": st.lists(st.integers(-1, 3), max_size=2) | JSON,
            "datatype": st.sampled_from(["BYTES", "FP32", "INT64", "BOOL"]) | WORDS,
            "data": st.lists(JSON, max_size=3) | JSON,
        }
    )
    tensors = st.fixed_dictionaries({"inputs": st.lists(tensor, max_size=3) | JSON})
    version = st.fixed_dictionaries({"version": WORDS | st.none()})
    values = records | st.lists(records, max_size=3) | tensors | version | JSON
    return values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200)


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def test_no_request_gets_a_server_error_or_an_undocumented_answer(process, document, example):
    tried = set()
    with httpx.Client(base_url=process.url, timeout=60) as client:
        for method, path, operation in operations(document):
            ask_all_sorts(client, method, path, operation, example)
            tried.add(path)
    wanted = {"/predict/onnx", "/predict/pickle", "/models/reload", "/v2/models/{model}/infer"}
    assert wanted <= tried


def ask_all_sorts(client, method, path, operation, example):
    names = [item["name"] for item in operation.get("parameters", []) if item["in"] == "path"]
    promised = set(operation["responses"]) | (ROUTER if names else set())

    @settings(
        max_examples=30,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.fixed_dictionaries(dict.fromkeys(names, WORDS)), bodies(example), TYPES)
    def each(values, content, media_type):
        url = path
        for name, value in values.items():
            url = url.replace(f"{{{name}}}", quote(value, safe="") or "x")
        sent = {"content": content} if method == "POST" else {}
        answer = client.request(method, url, headers={"content-type": media_type}, **sent)
        assert answer.status_code < 500, answer.text
        assert str(answer.status_code) in promised, (method, url, answer.text)

    each()


def test_records_are_described_by_the_version_in_service(process, document, example):
    operation = document["paths"]["/predict/onnx"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    one, _ = content["schema"]["oneOf"]
    assert one == {"$ref": "#/components/schemas/Record"}
    record = document["components"]["schemas"]["Record"]
    assert record["properties"]["model_group"]["enum"] == ["A", "B", "C"]
    assert len(record["required"]) == 12
    jsonschema.validate(example, record)
    answer = httpx.post(f"{process.url}/predict/onnx", json=example)
    assert answer.status_code == 200
    promised = operation["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(answer.json(), {**promised, "components": document["components"]})
    assert {"400", "413", "415", "422", "429", "503"} <= set(operation["responses"])


def test_every_reference_in_the_document_leads_somewhere(document):
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert referred <= set(document["components"]["schemas"])
