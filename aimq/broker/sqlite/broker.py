"""The Broker port on an SQLite file."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from typing import Final

from aimq.broker.port import DeadMessage, QueueCounts
from aimq.broker.sqlite import dead_letters, queue_table
from aimq.broker.sqlite.subscription import SqliteSubscription
from aimq.errors import AimqError, BrokerUnavailable
from aimq.messages import Message, encode
from aimq.settings import Settings
from aimq.sqlite.database import Database

#: Renewals per lease: two may fail before a delivery is lost.
_RENEWALS: Final = 3
_log = logging.getLogger(__name__)


class SqliteBroker:
    """Durable queues in ``AIMQ_BROKER_URL`` = ``sqlite:///…``. Thread-safe; any number of
    processes on one machine may use the same file.

    What a publish has confirmed survives the death of every process and a loss of power; see
    `aimq.sqlite.database` for the rest. A consumer's death is noticed when its lease
    (``AIMQ_LEASE_SECONDS``) runs out.

    Raises:
        SettingsError: the URL or its file cannot be used, ever.
    """

    def __init__(self, settings: Settings) -> None:
        self._lease = settings.lease_seconds
        self._database = Database(
            settings.broker_url, "AIMQ_BROKER_URL", settings.data_dir, BrokerUnavailable
        )
        self._subscriptions: list[SqliteSubscription] = []
        self._lock = threading.Lock()  # of starting
        self._stop = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="broker-leases", daemon=True)

    def publish(self, queue: str, message: Message) -> Future[None]:
        """See the port."""
        return self.publish_body(queue, encode(message), message.job_id)

    def publish_body(self, queue: str, body: bytes, message_id: str) -> Future[None]:
        """As `publish`, for a body that may be anything."""
        return self._database.submit(lambda tx: queue_table.insert(tx, queue, body, message_id))

    def subscribe(self, queue: str, prefetch: int) -> SqliteSubscription:
        """See the port."""
        subscription = SqliteSubscription(self._database, queue, prefetch, self._lease)
        with self._lock:
            if not self._subscriptions:
                self._renewing.start()
            self._subscriptions.append(subscription)
        return subscription

    def counts(self, queue: str) -> QueueCounts:
        """See the port."""
        with self._database.reading() as connection:
            return queue_table.counts(connection, queue, self._database.now_us())

    def dead_letters(self, queue: str, limit: int = 100) -> list[DeadMessage]:
        """See the port."""
        with self._database.reading() as connection:
            return dead_letters.oldest(connection, queue, limit)

    def replay(self, queue: str, dead_letter_id: str) -> DeadMessage | None:
        """See the port."""
        return self._database.write(lambda tx: dead_letters.replay(tx, queue, dead_letter_id))

    def discard(self, queue: str, dead_letter_id: str) -> DeadMessage | None:
        """See the port."""
        return self._database.write(lambda tx: dead_letters.discard(tx, queue, dead_letter_id))

    def check(self) -> None:
        """See the port."""
        self._database.check()

    def close(self) -> None:
        """See the port. What was received and not settled goes back to its queue at once."""
        self._stop.set()
        for subscription in self._subscriptions:
            subscription.close()
            subscription.release()
        if self._renewing.is_alive():
            self._renewing.join()
        self._database.close()

    def _renew(self) -> None:
        while not self._stop.wait(self._lease / _RENEWALS):
            for subscription in list(self._subscriptions):
                try:
                    subscription.renew()
                except AimqError as exc:
                    _log.warning("Leases were not renewed: %s", exc.detail)
