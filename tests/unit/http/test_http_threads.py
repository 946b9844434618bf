import asyncio
import threading

import pytest

from aimq.errors import Overloaded
from aimq.http.threads import ThreadPool


@pytest.fixture
def pool():
    pool = ThreadPool(1, "test", waiting=1)
    yield pool
    pool.close(wait=True)


async def test_calls_return_and_raise_what_they_do(pool):
    assert await pool.run(int, "7", base=8) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await pool.run(int, "x")
    assert pool.under_way == 0


async def test_more_than_may_wait_are_refused_until_some_have_ended(pool):
    release = threading.Event()
    calls = [asyncio.create_task(pool.run(release.wait)) for _ in range(2)]
    while pool.under_way < 2:
        await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refusal:
        await pool.run(release.wait)
    assert refusal.value.retry_after
    release.set()
    assert await asyncio.gather(*calls) == [True, True]
    assert await pool.run(release.wait)
