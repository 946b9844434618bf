"""The embedded broker: durable queues in an SQLite file, for several processes at once."""

from aimq.broker.sqlite.broker import SqliteBroker

__all__ = ["SqliteBroker"]
