"""Each crafted workbook is refused with a sentence or read right, and the next one is read."""

import pytest

from aimq.errors import ClientError
from tests.hostile_workbooks import COLUMNS, READ, REFUSED


@pytest.fixture
def given(tmp_path):
    def given(content):
        path = tmp_path / "in.xlsx"
        path.write_bytes(content)
        return path

    return given


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_workbook_is_refused_with_a_sentence(name, given, reader):
    with pytest.raises(ClientError) as caught:
        reader.read(given(REFUSED[name]()), 1_048_575)
    assert caught.value.detail.endswith(".")
    assert caught.value.status in {413, 415, 422}


@pytest.mark.parametrize("name", READ)
def test_a_valid_workbook_is_read_whatever_its_form(name, given, reader):
    path = given(READ[name]())
    assert tuple(reader.read(path, 1_048_575).headers[:12]) == COLUMNS
    with path.open("rb") as file:
        assert tuple(reader.header(file)[:12]) == COLUMNS
