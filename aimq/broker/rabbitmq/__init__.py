"""The Broker port on RabbitMQ 3.10 or later, through `pika`.

One thread of the process does all input and output (`io`). On it live at most two connections,
each opened when first needed and kept (`link`): one publishes, one consumes and answers
questions, because a server short of memory stops reading from connections that publish. Each user
of a connection keeps a channel of its own (`channel`):

=============== ==================================================================================
`publisher`     writes messages and pairs them with the server's confirms
`subscription`  receives deliveries and settles them
`control`       runs short conversations: counts, dead letters (`dead_letters`)
=============== ==================================================================================

What is sent is decided by pure modules: `queues` (arguments), `headers` (properties of messages),
`acks` (which acks may be sent as one), `faults` (what went wrong, in words).
"""

from aimq.broker.rabbitmq.broker import RabbitBroker

__all__ = ["RabbitBroker"]
