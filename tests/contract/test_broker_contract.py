import pytest

pytest.register_assert_rewrite("tests.contract.broker_contract")

from tests.contract.broker_contract import BrokerContract, BrokerHarness  # noqa: E402


class SqliteHarness(BrokerHarness):
    def __init__(self, folder):
        self._folder = folder

    def environment(self):
        return {
            "AIMQ_BROKER_URL": f"sqlite:///{self._folder / 'queue file.db'}",
            "AIMQ_LEASE_SECONDS": "1.0",
        }

    def publish_raw(self, broker, queue, body):
        broker.publish_body(queue, body, "").result(20)


class TestSqliteBroker(BrokerContract):
    @pytest.fixture
    def harness(self, tmp_path):
        return SqliteHarness(tmp_path)
