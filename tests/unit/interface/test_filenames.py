import unicodedata
from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interface.filenames import (
    FALLBACK,
    MAX_CHARACTERS,
    content_disposition,
    display_name,
    result_name,
)

NAMES = st.text(st.characters(exclude_categories=()), max_size=400)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("cars.xlsx", "cars.xlsx"),
        ("  my   cars .xlsx", "my cars.xlsx"),
        ("../../etc/passwd", "passwd"),
        (r"C:\Users\me\Autos 2026.xlsx", "Autos 2026.xlsx"),
        ("a\r\nSet-Cookie: x.xlsx", "a Set-Cookie_ x.xlsx"),
        ("invoice\u202exslx.exe", "invoicexslx.exe"),
        ("u\u0308ber.xlsx", "über.xlsx"),
        ("自動車.xlsx", "自動車.xlsx"),
        ("...", FALLBACK),
        ("", FALLBACK),
        ("\ud800.xlsx", "xlsx"),
    ],
)
def test_a_clients_name_is_made_safe_to_show(raw, shown):
    assert display_name(raw) == shown


@given(NAMES)
def test_no_name_is_dangerous_or_long_whatever_was_sent(raw):
    name = display_name(raw)

    assert name
    assert not set(name) & set('/\\<>:"|?*')
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs"} for char in name)
    assert len(name) <= MAX_CHARACTERS
    assert len(result_name(name).encode()) <= 255
    assert not name.startswith(".")


@given(NAMES)
def test_a_name_that_is_safe_stays_as_it_is(raw):
    assert display_name(display_name(raw)) == display_name(raw)


@pytest.mark.parametrize(
    ("shown", "result"),
    [
        ("cars.xlsx", "cars_predicted.xlsx"),
        ("cars.v2.xlsx", "cars.v2_predicted.xlsx"),
        ("cars", "cars_predicted.xlsx"),
        ("", "upload_predicted.xlsx"),
        ("prices of 3.5 tonners", "prices of 3.5 tonners_predicted.xlsx"),
    ],
)
def test_a_result_is_named_after_its_upload(shown, result):
    assert result_name(shown) == result


@given(NAMES)
def test_a_download_header_names_the_file_in_ascii_and_exactly(raw):
    name = result_name(display_name(raw))
    header = content_disposition(name)
    header.encode("ascii")
    assert "\r" not in header
    assert "\n" not in header
    parsed = Message()
    parsed["Content-Disposition"] = header
    if "filename*=" in header:
        assert unquote(header.rpartition("''")[2]) == name
    else:
        assert parsed.get_filename() == name
