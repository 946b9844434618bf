from __future__ import annotations

import pytest
import redis

pytest.register_assert_rewrite("tests.contract.job_store_contract")

from tests.contract.job_store_contract import JobStoreContract  # noqa: E402


class TestSqliteStore(JobStoreContract):
    @pytest.fixture
    def environment(self, tmp_path):
        return {"AIMQ_STORE_URL": f"sqlite:///{tmp_path / 'a store 100%.db'}"}


@pytest.mark.redis
class TestRedisStore(JobStoreContract):
    @pytest.fixture
    def environment(self, redis_url):
        url = redis_url.removesuffix("/0") + "/9"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        return {"AIMQ_STORE_URL": url}
