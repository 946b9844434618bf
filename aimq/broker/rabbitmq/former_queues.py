"""Removes the retry queues of earlier versions: ``aimq.uploads.retry.1`` and so on.

Their messages wait out their delay there and go to the work queue by themselves. A quorum queue
cannot be deleted on condition that it is empty, so each is unbound first: nothing can enter it any
more. It is deleted when it is unbound and found empty twice, `REMOVAL_SECONDS` apart.

A consumer of an earlier version that still runs gets a message it publishes to an unbound queue
returned, binds the queue again and publishes the message again: nothing is lost. The long pause
keeps the deletion out of a rolling update, and leaves time to a message that the server moves
to the work queue just then.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import Final

from aimq.broker.rabbitmq.connection import ReconnectingConnection
from aimq.broker.rabbitmq.error_mapping import NOT_FOUND, is_closed_with
from aimq.broker.topology import EXCHANGE
from aimq.errors import BrokerUnavailable

_log = logging.getLogger(__name__)
#: Pause before each look at the former queues, in seconds.
REMOVAL_SECONDS: Final = 600.0


async def remove_former_retry_queues(connection: ReconnectingConnection, queue: str) -> None:
    """Remove the former retry queues of a work queue; return when there are none."""
    was_empty = False
    while True:
        await asyncio.sleep(REMOVAL_SECONDS)
        with contextlib.suppress(BrokerUnavailable):  # another time
            names, waiting = await _unbind(connection, queue)
            if was_empty and waiting == 0:
                await _delete(connection, names)
            if not names:
                return
            was_empty = waiting == 0


async def _unbind(connection: ReconnectingConnection, queue: str) -> tuple[list[str], int]:
    """Unbind the former queues. Return their names and how many messages wait in them."""
    names: list[str] = []
    waiting = 0
    try:
        async with connection.channel() as channel:
            for number in itertools.count(1):
                name = f"{queue}.retry.{number}"
                raw = channel.raw
                await channel.call(raw.queue_unbind, name, EXCHANGE, routing_key=name)
                found = await channel.call(raw.queue_declare, name, passive=True)
                names.append(name)
                waiting += found.method.message_count
    except BrokerUnavailable as exc:
        if not is_closed_with(exc, NOT_FOUND):
            raise
    return names, waiting


async def _delete(connection: ReconnectingConnection, names: list[str]) -> None:
    """Delete queues, the last first: those that are left if it fails are still found."""
    async with connection.channel() as channel:
        for name in reversed(names):
            await channel.call(channel.raw.queue_delete, name)
            _log.info("Removed %s, a retry queue of an earlier version", name)
