"""The Broker port on RabbitMQ 3.10 or later, through `pika`.

One thread runs an asyncio loop (`loop`). On it live at most two connections, each opened when
first needed and reopened for ever (`connection`): one publishes, one consumes and answers
questions, because a server short of memory stops reading from connections that publish.

================ =================================================================================
`awaitable`      pika's connections and channels as awaitables
`publisher`      writes messages and pairs them with the server's confirms
`subscription`   receives deliveries and settles them
`dead_letters`   lists, takes and puts back dead letters
`former_queues`  removes the retry queues of earlier versions
================ =================================================================================

Pure modules decide what is sent: `parameters` (URL), `queues` (arguments), `headers` (properties
of messages), `acks` (acks to merge), `error_mapping` (pika's exceptions in words).
"""

from aimq.broker.rabbitmq.broker import RabbitBroker

__all__ = ["RabbitBroker"]
