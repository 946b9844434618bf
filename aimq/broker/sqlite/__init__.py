"""The broker on SQLite: durable queues in an SQLite file that several processes share.

broker        the Broker port
subscription  the Subscription port
queue_table   the ``message`` table as a queue
dead_letters  its rows that were given up
rows          a row as a delivery or a dead letter
"""

from aimq.broker.sqlite.broker import SqliteBroker

__all__ = ["SqliteBroker"]
