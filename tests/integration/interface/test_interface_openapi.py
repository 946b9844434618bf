"""Every operation of the OpenAPI document, asked for with all sorts of values."""

import json
from urllib.parse import quote

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PROBLEM = "application/problem+json"
WORDS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=40),
    st.sampled_from(["0" * 32, "1", "-1", "uploads", "done", "../..", "\0", "é", "9" * 40]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
BODIES = JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200)
TYPES = st.sampled_from(
    ["application/json", "multipart/form-data", "multipart/form-data; boundary=x", "text/plain"]
)


@pytest.fixture(params=["json", "form"])
def send(request, process):
    """Send a request whose body is bytes, or a form's file."""
    with httpx.Client(base_url=process.url) as client:

        def as_bytes(method, url, content, media_type):
            body = {"content": content, "headers": {"content-type": media_type}}
            return client.request(method, url, **(body if method in {"POST", "PUT"} else {}))

        def as_form(method, url, content, media_type):
            body = {"files": {"file": (media_type, content)}}
            return client.request(method, url, **(body if method in {"POST", "PUT"} else {}))

        yield as_bytes if request.param == "json" else as_form


def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def test_no_request_gets_a_server_error_or_an_undocumented_answer(process, send):
    document = httpx.get(f"{process.url}/openapi.json").json()
    tried = set()

    for method, path, operation in operations(document):
        ask_all_sorts(send, method, path, operation, document["components"])
        tried.add(path)
    assert {"/upload", "/predict", "/jobs/{job_id}", "/dead-letters/{dead_letter_id}"} <= tried


def ask_all_sorts(send, method, path, operation, components):
    named = [(one["in"], one["name"]) for one in operation.get("parameters", ())]
    parts_of_path = {name: WORDS.filter(bool) for place, name in named if place == "path"}
    queries = {name: WORDS for place, name in named if place == "query"}

    @settings(max_examples=15, database=None, suppress_health_check=list(HealthCheck))
    @given(
        parts=st.fixed_dictionaries(parts_of_path),
        query=st.fixed_dictionaries({}, optional=queries),
        content=BODIES,
        media_type=TYPES,
    )
    def answers_as_documented(parts, query, content, media_type):
        safe = {name: quote(value, safe="").replace(".", "%2E") for name, value in parts.items()}
        url = httpx.URL(path.format(**safe), params=query)
        answer = send(method, url, content, media_type)
        other_path = any({"/", "."} & set(value) for value in parts.values())
        check(answer, operation["responses"], components, other_path=other_path)

    answers_as_documented()


def check(answer, documented, components, *, other_path):
    assert answer.status_code < 500
    if other_path:  # an encoded slash or dots make another path of it
        return
    assert str(answer.status_code) in documented
    described = documented[str(answer.status_code)].get("content", {})
    if described:
        media_type = answer.headers["content-type"].partition(";")[0]
        assert media_type in described
        if answer.is_error:
            assert media_type == PROBLEM
        if "json" in media_type:
            schema = {**described[media_type].get("schema", {}), "components": components}
            jsonschema.validate(answer.json(), schema)
