"""The embedded broker: durable queues in an SQLite file, for several processes at once."""

from aimq.broker.embedded.broker import EmbeddedBroker

__all__ = ["EmbeddedBroker"]
