"""Short conversations with the server: each on a channel of its own, written as a generator."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, Final, Generic, TypeVar

from pika.channel import Channel
from pika.connection import Connection

from aimq.broker.rabbitmq.faults import explain
from aimq.broker.rabbitmq.io import IoThread
from aimq.broker.rabbitmq.link import Link
from aimq.errors import AimqError, BrokerUnavailable

#: Longest wait for the end of a conversation, in seconds.
CONTROL_SECONDS: Final = 15.0

Answer = TypeVar("Answer")
#: What is said on a channel: it yields futures and is resumed with their results.
Conversation = Generator["Future[Any]", Any, Answer]


class ChannelRefused(Exception):
    """The server closed a conversation's channel; `__cause__` is pika's reason."""


def ask(method: Callable[..., object], *args: object, **options: object) -> Future[Any]:
    """Call a method of pika's channel that takes a callback; resolves with what that is given."""
    future: Future[Any] = Future()
    method(*args, callback=future.set_result, **options)
    return future


class Control:
    """Holds conversations on a link. `hold` is thread-safe; the rest is the I/O thread's."""

    def __init__(self, io: IoThread, link: Link) -> None:
        self._io = io
        self._link = link
        self._attached = False
        self._waiting: list[_Held[Any]] = []

    def hold(self, conversation: Callable[[Channel], Conversation[Answer]]) -> Answer:
        """Hold a conversation, given the channel, and return what it returns.

        Raises:
            BrokerUnavailable: the server is away, or did not answer in time.
            ChannelRefused: the server closed the channel.
        """
        held = _Held(conversation, self._link.address)
        self._io.submit(lambda: self._begin(held))
        try:
            return held.future.result(CONTROL_SECONDS)
        except concurrent.futures.TimeoutError:
            self._io.submit(held.give_up)
            raise BrokerUnavailable(
                f"RabbitMQ at {self._link.address} gave no answer within {CONTROL_SECONDS:g} s"
            ) from None

    def link_up(self, connection: Connection) -> None:
        """Begin what has waited for a connection."""
        waiting, self._waiting = self._waiting, []
        for held in waiting:
            connection.channel(on_open_callback=held.begin)

    def link_down(self, reason: str) -> None:
        """Fail what waits for a connection."""
        waiting, self._waiting = self._waiting, []
        for held in waiting:
            held.fail(BrokerUnavailable(reason))

    def _begin(self, held: _Held[Any]) -> None:
        if self._link.connection is not None and self._link.connection.is_open:
            self._link.connection.channel(on_open_callback=held.begin)
        elif self._link.failure is not None:
            held.fail(BrokerUnavailable(self._link.failure))
        else:
            self._waiting.append(held)
        if not self._attached:
            self._attached = True
            self._link.attach(self)


class _Held(Generic[Answer]):
    """One conversation under way."""

    def __init__(
        self, conversation: Callable[[Channel], Conversation[Answer]], address: str
    ) -> None:
        self.future: Future[Answer] = Future()
        self._conversation = conversation
        self._address = address
        self._channel: Channel | None = None
        self._steps: Conversation[Answer] | None = None

    def begin(self, channel: Channel) -> None:
        self._channel = channel
        if self.future.done():
            channel.close()
            return
        channel.add_on_close_callback(self._refused)
        self._steps = self._conversation(channel)
        self._resume(None)

    def fail(self, exc: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(exc)

    def give_up(self) -> None:
        self.fail(BrokerUnavailable("no answer in time"))
        self._hang_up()

    def _resume(self, answered: Future[Any] | None) -> None:
        if self.future.done() or self._steps is None:
            return
        try:
            if answered is None:
                following = next(self._steps)
            elif (exc := answered.exception()) is not None:
                following = self._steps.throw(exc)
            else:
                following = self._steps.send(answered.result())
        except StopIteration as end:
            self.future.set_result(end.value)
            self._hang_up()
        except AimqError as exc:
            self.fail(exc)
            self._hang_up()
        except Exception as exc:  # noqa: BLE001 # the caller gets it, mapped
            self.fail(BrokerUnavailable(explain(exc, self._address)))
            self._hang_up()
        else:
            following.add_done_callback(self._resume)

    def _refused(self, channel: Channel, exc: BaseException) -> None:
        if self.future.done():
            return
        if channel.connection.is_open:
            refused = ChannelRefused(explain(exc, self._address))
            refused.__cause__ = exc
            self.fail(refused)
        else:
            self.fail(BrokerUnavailable(explain(exc, self._address)))
        if self._steps is not None:
            self._steps.close()

    def _hang_up(self) -> None:
        if self._channel is not None and self._channel.is_open:
            self._channel.close()
