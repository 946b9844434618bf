"""No test leaves an event loop open: it would be found in the midst of any other."""

from __future__ import annotations

import asyncio
import gc


async def test_an_asynchronous_test_before() -> None:
    await asyncio.sleep(0)


def test_an_event_loop_of_a_synchronous_test_after_it() -> None:
    asyncio.run(asyncio.sleep(0))


def test_what_the_garbage_collector_finds() -> None:
    gc.collect()  # a loop that is open is a warning, which is an error here


async def test_an_asynchronous_test_after() -> None:
    await asyncio.sleep(0)
