import subprocess
import sys

import pytest

from aimq.errors import SettingsError
from aimq.jobs.connect import connect_store
from aimq.jobs.redis.store import RedisStore
from aimq.jobs.sqlite import SqliteStore
from aimq.settings import Settings


def test_the_scheme_chooses_the_adapter_and_nothing_is_reached_yet(tmp_path):
    for scheme in ("redis", "rediss", "redis+sentinel"):
        store = connect_store(Settings(store_url=f"{scheme}://127.0.0.1:1/0"))
        assert isinstance(store, RedisStore)
        store.close()
    store = connect_store(Settings(store_url=f"sqlite:///{tmp_path / 'a.db'}"))
    assert isinstance(store, SqliteStore)
    store.close()


@pytest.mark.parametrize("url", ["postgres://host/db", "nothing", "REDIS//"])
def test_another_scheme_is_refused_with_those_that_are_known(url):
    with pytest.raises(SettingsError, match=r"AIMQ_STORE_URL.*sqlite://.*redis://.*rediss://"):
        connect_store(Settings(store_url=url))


@pytest.mark.parametrize(
    "url",
    [
        "redis://host:port/0", "redis://host:99999/0", "redis://h/?db=x", "redis://h/0?wait=x",
        "redis://h/0?wait=-1", "redis+sentinel://h:26379", "redis+sentinel://h:port/mymaster/0",
        "redis+sentinel://h,/mymaster/0", "redis+sentinel://h/mymaster/x",
        "redis+sentinel://h/mymaster/0?other=1",
    ],
)  # fmt: skip
def test_a_malformed_redis_url_is_refused(url):
    with pytest.raises(SettingsError, match="AIMQ_STORE_URL"):
        connect_store(Settings(store_url=url))


def test_the_library_of_the_other_adapter_is_not_loaded(tmp_path):
    program = (
        "import sys; from aimq.jobs.connect import connect_store; from aimq.settings import "
        "Settings; connect_store(Settings(store_url=sys.argv[1])).close(); "
        "sys.exit('redis' in sys.modules)"
    )
    url = f"sqlite:///{tmp_path / 'a.db'}"
    assert subprocess.run([sys.executable, "-c", program, url], check=False).returncode == 0
