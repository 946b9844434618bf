import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimq.settings import Settings
from aimq.telemetry import configure_logging, continue_trace

TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


@pytest.fixture(autouse=True)
def logging_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_text_lines_carry_time_service_level_and_message(capsys):
    configure_logging(Settings(), "interface")
    logging.getLogger("x").warning("%d rows", 3)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z interface +WARNING +3 rows", line)


def test_json_lines_carry_the_traceback_and_stay_one_line_each(capsys):
    configure_logging(Settings(log_json=True), "etl")
    try:
        int("line one\nline two")
    except ValueError:
        logging.getLogger("x").exception("failed\nbadly: %s", "é")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["service"], entry["logger"]) == ("error", "etl", "x")
    assert entry["message"] == "failed\nbadly: é"
    assert "ValueError: invalid literal" in entry["traceback"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"])


def test_below_the_level_and_from_chatty_libraries_nothing_is_said(capsys):
    configure_logging(Settings(log_level="info"), "interface")
    logging.getLogger("x").debug("detail")
    logging.getLogger("httpx").info("GET /")
    assert capsys.readouterr().err == ""


def test_a_trace_goes_on_with_a_span_of_its_own():
    child = continue_trace(GIVEN)
    assert TRACEPARENT.match(child)
    assert child[:36] == GIVEN[:36]
    assert child[52:] == GIVEN[52:]
    assert child[36:52] != GIVEN[36:52]


@given(
    st.none()
    | st.text(max_size=60)
    | st.sampled_from(
        [
            "00-" + "0" * 32 + GIVEN[35:],
            GIVEN[:36] + "0" * 16 + GIVEN[52:],
            GIVEN.upper(),
            "01" + GIVEN,
        ]
    )
)
def test_what_is_no_trace_begins_a_new_one(header):
    begun = continue_trace(header)
    assert TRACEPARENT.match(begun)
    assert begun != continue_trace(header)
    assert begun.endswith("-01")
