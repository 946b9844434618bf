import pytest

from aimq.broker.connect import connect_broker
from aimq.broker.sqlite import SqliteBroker
from aimq.errors import SettingsError
from aimq.settings import Settings


def test_sqlite_is_the_embedded_broker(tmp_path):
    broker = connect_broker(Settings(data_dir=tmp_path / "made when missing"))
    try:
        assert isinstance(broker, SqliteBroker)
        assert (tmp_path / "made when missing" / "aimq.db").is_file()
    finally:
        broker.close()


@pytest.mark.parametrize("url", ["kafka://host", "localhost:5672", "http://guest:secret@host"])
def test_another_scheme_is_refused_naming_those_known(url):
    with pytest.raises(SettingsError, match=r"AIMQ_BROKER_URL.*sqlite:///.*amqp://") as refusal:
        connect_broker(Settings(broker_url=url))

    assert "secret" not in refusal.value.detail
