from pathlib import Path

import pytest

from aimq.errors import SettingsError
from aimq.sqlite.url import database_path, scheme_of


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////var/lib/aimq.db", "/var/lib/aimq.db"),
        ("sqlite:////with space/a b.db", "/with space/a b.db"),
        ("sqlite:////100%20/a.db", "/100%20/a.db"),
        ("SQLITE:////var/lib/aimq.db", "/var/lib/aimq.db"),
    ],
)
def test_an_absolute_path_is_taken_as_written(url, path):
    assert database_path(url, "AIMQ_BROKER_URL") == Path(path)


def test_a_relative_path_begins_at_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert database_path("sqlite:///data/aimq.db", "AIMQ_BROKER_URL") == tmp_path / "data/aimq.db"


@pytest.mark.parametrize(
    "url", ["sqlite:///:memory:", "sqlite:///", "sqlite:////", "sqlite:///file?mode=memory"]
)
def test_a_database_in_memory_is_refused(url):
    with pytest.raises(SettingsError, match=r"AIMQ_STORE_URL.*cannot be in memory"):
        database_path(url, "AIMQ_STORE_URL")


@pytest.mark.parametrize("url", ["sqlite://aimq.db", "sqlite:aimq.db", "/var/aimq.db"])
def test_another_form_is_refused_showing_the_right_one(url):
    with pytest.raises(SettingsError, match=r"sqlite:////absolute/path\.db"):
        database_path(url, "AIMQ_STORE_URL")


@pytest.mark.parametrize("url", ["sqlite:///folder/", "sqlite:///a\0b"])
def test_a_path_that_names_no_file_is_refused(url):
    with pytest.raises(SettingsError, match="names no file"):
        database_path(url, "AIMQ_STORE_URL")


@pytest.mark.parametrize(
    ("url", "scheme"), [("AMQPS://h", "amqps"), ("sqlite:///x", "sqlite"), ("plain", "")]
)
def test_the_scheme_of_a_url(url, scheme):
    assert scheme_of(url) == scheme
