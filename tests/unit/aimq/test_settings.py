import os

import pytest

from aimq.errors import SettingsError
from aimq.settings import load_settings


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch):
    for name in [name for name in os.environ if name.startswith("AIMQ_")]:
        monkeypatch.delenv(name)


def test_everything_has_a_default_on_the_embedded_adapters(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.broker_url == f"sqlite:///{tmp_path}/data/aimq.db"
    assert settings.store_url == settings.broker_url
    assert settings.files_url == f"file://{tmp_path}/data/files"
    assert settings.interface_url == "http://127.0.0.1:8080"
    assert settings.prefetch == 2 * settings.concurrency


def test_an_unknown_variable_is_refused_with_the_nearest_name(monkeypatch):
    monkeypatch.setenv("AIMQ_BROKER_ULR", "x")
    with pytest.raises(SettingsError, match="ULR is not a setting; did you mean AIMQ_BROKER_URL"):
        load_settings()


def test_variables_of_the_tests_are_no_settings(monkeypatch):
    monkeypatch.setenv("AIMQ_REQUIRE_SERVICES", "1")
    monkeypatch.setenv("AIMQ_TEST_REDISAI_URL", "redis://localhost")
    load_settings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AIMQ_ML_PORT", "x", "AIMQ_ML_PORT.*'x'"),
        ("AIMQ_ML_PORT", "70000", "AIMQ_ML_PORT.*65535"),
        ("AIMQ_CONCURRENCY", "0", "AIMQ_CONCURRENCY.*greater than 0"),
        ("AIMQ_LOG_LEVEL", "loud", "AIMQ_LOG_LEVEL.*debug, info"),
        ("AIMQ_TRUSTED_PROXIES", "10.0.0.0/8,proxy", "AIMQ_TRUSTED_PROXIES.*'proxy'"),
    ],
)
def test_a_bad_value_names_the_variable_on_one_line(monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings()
    assert "\n" not in caught.value.detail


def test_secrets_are_shown_nowhere(monkeypatch):
    monkeypatch.setenv("AIMQ_INTERNAL_TOKEN", "sesame")
    monkeypatch.setenv("AIMQ_API_KEYS", "alpha, beta,,")
    monkeypatch.setenv("AIMQ_BROKER_URL", "amqp://user:hunter2@host/")
    settings = load_settings()
    assert settings.api_keys == {"alpha", "beta"}
    assert not any(secret in repr(settings) for secret in ("sesame", "alpha", "hunter2"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1"])
def test_a_loopback_address_needs_no_key(host):
    load_settings().refuse_open_door(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_an_open_address_needs_a_key_or_a_clear_word(host, monkeypatch):
    with pytest.raises(SettingsError, match="AIMQ_API_KEYS"):
        load_settings().refuse_open_door(host)
    load_settings(allow_open=True).refuse_open_door(host)
    monkeypatch.setenv("AIMQ_API_KEYS", "k")
    load_settings().refuse_open_door(host)


@pytest.mark.parametrize("name", ["AIMQ_INTERNAL_TOKEN", "AIMQ_API_KEYS", "AIMQ_BROKER_URL"])
def test_the_examples_secrets_are_refused_in_production_only(name, monkeypatch):
    monkeypatch.setenv(name, "amqp://aimq:change-me-too@host/")
    load_settings()
    monkeypatch.setenv("AIMQ_ENVIRONMENT", "production")
    with pytest.raises(SettingsError, match=name) as refusal:
        load_settings()
    assert "change-me" not in refusal.value.detail


def test_constants_are_no_variables_and_a_test_sets_them_by_keyword(monkeypatch):
    assert load_settings(queue_bound=7).queue_bound == 7
    monkeypatch.setenv("AIMQ_QUEUE_BOUND", "7")
    with pytest.raises(SettingsError, match="AIMQ_QUEUE_BOUND is not a setting"):
        load_settings()


def test_production_drains_for_its_load_balancer_and_logs_for_machines(monkeypatch):
    assert (load_settings().drain_seconds, load_settings().log_json) == (0.0, False)
    monkeypatch.setenv("AIMQ_ENVIRONMENT", "production")
    assert (load_settings().drain_seconds, load_settings().log_json) == (5.0, True)
    assert load_settings(drain_seconds=1).drain_seconds == 1.0
