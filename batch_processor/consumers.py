"""Threads, prefetch and handler of each queue; how the consumers start and stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from aimq.backoff import RetryPolicy
from aimq.broker.port import Broker
from aimq.messages import Kind
from aimq.settings import Settings
from batch_processor import predictions
from batch_processor.consumer import Consumer
from batch_processor.context import ConsumerConfig, ConsumerContext
from batch_processor.work import Handler, by_kind

#: Threads for predictions: while one waits for the ML service, the other settles and receives.
_PREDICTION_THREADS: Final = 2
#: Trainings at once. Each takes a thread of the uploads for minutes; scoring keeps its own.
_TRAININGS: Final = 1
#: Threads for webhooks: they wait for the receivers, most of the time.
_WEBHOOK_THREADS: Final = 4
#: Part of the time for stopping that is kept for putting messages back, in seconds.
_RESERVE_SECONDS: Final = 2.0


def consumer_configs(
    settings: Settings, handlers: Mapping[Kind, Handler], queues: Sequence[str]
) -> list[ConsumerConfig]:
    """Return how each of the wanted queues is consumed.

    Queues have threads of their own, so that none starves another. `prefetch` is close to the
    number of threads where work is long: what waits here could be done by another process.
    """
    delays = (settings.retry_base_seconds, settings.retry_max_seconds)
    policy = RetryPolicy(settings.max_attempts, *delays)
    every = (
        ConsumerConfig(
            kind=Kind.SPREADSHEET,
            handler=by_kind(handlers),
            policy=policy,
            threads=settings.concurrency + _TRAININGS,
            prefetch=settings.prefetch + _TRAININGS,
            isolated={Kind.TRAINING},
        ),
        ConsumerConfig(
            kind=Kind.PREDICTION,
            handler=handlers[Kind.PREDICTION],
            policy=policy,
            threads=_PREDICTION_THREADS,
            prefetch=_PREDICTION_THREADS * predictions.MAX_RECORDS,
            batch=predictions.MAX_RECORDS,
        ),
        ConsumerConfig(
            kind=Kind.FACTORIAL,
            handler=handlers[Kind.FACTORIAL],
            policy=policy,
            threads=settings.concurrency,
            prefetch=settings.concurrency,
            isolated={Kind.FACTORIAL},
            uncounted={Kind.FACTORIAL},
        ),
        ConsumerConfig(
            kind=Kind.WEBHOOK,
            handler=handlers[Kind.WEBHOOK],
            policy=RetryPolicy(settings.webhook_attempts, *delays),
            threads=_WEBHOOK_THREADS,
            prefetch=2 * _WEBHOOK_THREADS,
        ),
    )
    return [config for config in every if config.queue in queues]


class Consumers:
    """The consumers of one process."""

    def __init__(
        self, broker: Broker, context: ConsumerContext, configs: Sequence[ConsumerConfig]
    ) -> None:
        self._broker, self._context, self._configs = broker, context, configs
        self._consumers: list[Consumer] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Subscribe and start working."""
        self._context.claims.start()
        for config in self._configs:
            subscription = self._broker.subscribe(config.queue, config.prefetch)
            consumer = Consumer(subscription, config, self._context)
            self._consumers.append(consumer)
            for number in range(1, config.threads + 1):
                # Daemons: a handler that never returns must not keep the process from ending.
                thread = threading.Thread(
                    target=consumer.run, name=f"{config.queue}-{number}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def stop(self, seconds: float) -> None:
        """Take no more work; finish what is in hand within `seconds`, or put it back."""
        deadline = time.monotonic() + seconds
        for consumer in self._consumers:
            consumer.stop()
        if not self._join(deadline - min(_RESERVE_SECONDS, seconds / 2)):
            for work in self._context.claims.held():
                work.cancel()
            self._join(deadline)
        for consumer in self._consumers:
            consumer.close()
        self._context.claims.close()

    def _join(self, deadline: float) -> bool:
        """Wait for the threads until `deadline`; True if all have ended."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)
