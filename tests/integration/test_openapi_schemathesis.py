"""Requests that Schemathesis makes from the services' own OpenAPI documents, to real processes."""

import collections
import shutil

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import validate
from schemathesis import DataGenerationMethod
from schemathesis.checks import content_type_conformance, not_a_server_error
from schemathesis.exceptions import SkipTest
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from tests.system import environment, running

# what it is built on says of itself
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema:DeprecationWarning")

#: Requests for an operation: as the document says, and against it.
EXAMPLES = 10
#: The server's answer to what is not HTTP, such as control characters in a header.
NO_HTTP = "Invalid HTTP request received."
#: What paths name, where it is not what is tried.
GIVEN = collections.defaultdict(lambda: "0" * 32, name="used_cars", model="used_cars")
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def system(trained_models, tmp_path_factory):
    environ = environment(
        tmp_path_factory.mktemp("data"),
        shutil.copytree(trained_models, tmp_path_factory.mktemp("models") / "models"),
        AIMQ_RATE_LIMIT="1000000/second",
        AIMQ_FACTORIAL_MAX="1000",
    )
    with running(environ) as system:
        yield system


@pytest.fixture(params=["interface", "ML service"])
def url(request, system):
    return system.url if request.param == "interface" else system.ml_url


def test_the_document_is_valid_openapi(url):
    validate(httpx.get(f"{url}/openapi.json").json())


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", list(DataGenerationMethod), ids=lambda way: way.value)
def test_every_operation_answers_as_documented_and_never_with_a_server_error(url, way):
    described = httpx.get(f"{url}/openapi.json").json()
    if way is DataGenerationMethod.negative:
        described = with_paths_given(described)
    document = schemathesis.from_dict(described, base_url=url, force_schema_version="30")
    tried = {
        operation.path
        for operation in (result.ok() for result in document.get_all_operations())
        if ask(operation, way)
    }
    assert tried & {"/upload", "/predict/onnx"}


def with_paths_given(document):
    """Return a document without parameters in paths, in which nothing can be wrong: what else an
    operation takes is then wrong in every request.
    """
    paths = {}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            kept = [each for each in operation.get("parameters", ()) if each["in"] != "path"]
            operation["parameters"] = kept
        paths[path.format_map(GIVEN)] = operations
    return document | {"paths": paths}


def ask(operation, way):
    """Send requests made for an operation; False if none can be made in this way."""
    if way is DataGenerationMethod.negative and not (operation.body or operation.query):
        return False
    try:
        sender(operation.as_strategy(data_generation_method=way))()
    except (SkipTest, Unsatisfiable):
        assert way is DataGenerationMethod.negative  # nothing about it can be wrong
        return False
    except Exception as exc:
        exc.add_note(operation.verbose_name)
        raise
    return True


def sender(strategy):
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def send(case):
        answer = case.call(timeout=60)
        if answer.text != NO_HTTP:
            case.validate_response(answer, checks=CHECKS)

    return send
