import asyncio
import logging

import pytest

from aimq.errors import BrokerUnavailable
from interface import background
from interface.background import forever


@pytest.fixture
def pauses(monkeypatch):
    """Seconds that would have been slept; the rounds follow each other at once."""
    slept = []
    real = asyncio.sleep

    async def sleep(seconds):
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr(background.asyncio, "sleep", sleep)
    return slept


async def rounds(*outcomes):
    """Run rounds that raise or return as given, until they are used up."""
    left = list(outcomes)
    done = asyncio.Event()

    async def step():
        if not left:
            done.set()
            return
        outcome = left.pop(0)
        if outcome is not None:
            raise outcome

    task = asyncio.create_task(forever("the sweep", step, 1.0))
    await asyncio.wait_for(done.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_rounds_come_more_rarely_while_they_fail_and_as_before_once_they_do_not(pauses):
    await rounds(*[BrokerUnavailable("away")] * 8, None)

    assert 0.5 <= pauses[0] <= 1
    assert 5 <= pauses[7] <= 10
    assert pauses[8] == 1.0


async def test_an_outage_is_logged_when_it_begins_and_when_it_ends(pauses, caplog):
    with caplog.at_level(logging.INFO):
        await rounds(BrokerUnavailable("away"), BrokerUnavailable("away"), None)

    assert [record.getMessage() for record in caplog.records] == [
        "the sweep waits: away",
        "the sweep works again",
    ]


async def test_a_bug_does_not_end_the_rounds(pauses, caplog):
    await rounds(ZeroDivisionError(), None)

    assert "the sweep failed" in caplog.text
