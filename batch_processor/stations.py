"""Which queue gets how many threads, and who works there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from aimq.backoff import RetryPolicy
from aimq.broker.topology import FACTORIALS, TASKS, UPLOADS, WEBHOOKS
from aimq.messages import Kind
from aimq.settings import Settings
from batch_processor import predictions
from batch_processor.alone import Apart
from batch_processor.handler import Handler
from batch_processor.processor import Station
from batch_processor.workshop import Workshop

#: Threads for predictions: while one waits for the ML service, the other settles and collects.
_PREDICTING: Final = 2
#: Threads for webhooks: they wait for the receivers, most of the time.
_TELLING: Final = 4


def stations(
    settings: Settings, shop: Workshop, handlers: Mapping[Kind, Handler], queues: Sequence[str]
) -> list[Station]:
    """Return the stations of the wanted queues."""

    def kind(one: Kind) -> Workshop:
        return replace(shop, handlers={one: handlers[one]})

    patient = RetryPolicy(
        settings.webhook_attempts, settings.retry_base_seconds, settings.retry_max_seconds
    )
    every = (
        Station(UPLOADS, kind(Kind.SPREADSHEET), settings.concurrency, settings.prefetch),
        Station(TASKS, kind(Kind.PREDICTION), _PREDICTING, _PREDICTING * predictions.MOST),
        Station(
            FACTORIALS,
            # Each runs in a process of its own, whose death is not this one's.
            replace(kind(Kind.FACTORIAL), floor=Apart()),
            settings.concurrency,
            settings.concurrency,  # none waits here while another worker is idle
        ),
        Station(WEBHOOKS, replace(kind(Kind.WEBHOOK), policy=patient), _TELLING, 2 * _TELLING),
    )
    return [station for station in every if station.queue in queues]
