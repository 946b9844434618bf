"""The broker that a URL names."""

from __future__ import annotations

from aimq.broker.port import Broker
from aimq.errors import SettingsError
from aimq.settings import Settings
from aimq.sqlite.url import scheme_of


def connect_broker(settings: Settings) -> Broker:
    """Return the broker of ``AIMQ_BROKER_URL``, chosen by its scheme.

    A server that cannot be reached yet is no error here; `Broker.check` raises it.

    Raises:
        SettingsError: an unknown scheme, or a URL that its adapter refuses.
    """
    scheme = scheme_of(settings.broker_url)
    if scheme == "sqlite":
        from aimq.broker.sqlite import SqliteBroker  # noqa: PLC0415 # only what is used

        return SqliteBroker(settings)
    if scheme in {"amqp", "amqps"}:
        from aimq.broker.rabbitmq import RabbitBroker  # noqa: PLC0415 # pika takes a while

        return RabbitBroker(settings)
    raise SettingsError(
        f"AIMQ_BROKER_URL: scheme {scheme!r} is not known; "
        "use sqlite:///path, amqp://user:password@host:5672/vhost or amqps://…"
    )
