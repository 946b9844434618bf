"""What the routes of the interface share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from aimq.broker.port import Broker
from aimq.files import FileStore
from aimq.http.threads import ThreadPool
from aimq.jobs.port import JobStore
from aimq.ml_client.relay import MlRelay
from aimq.settings import Settings
from aimq.workbook.reader import WorkbookReader
from interface.callback_urls import CallbackUrls
from interface.job_events import JobEvents
from interface.job_publisher import JobPublisher
from interface.job_writer import JobWriter
from interface.metrics import Metrics
from interface.queue_depths import QueueDepths
from interface.schema_cache import SchemaCache
from interface.sync_factorial import SyncFactorial

#: Store and file calls at once, and those that may wait for a thread.
_STORE_THREADS: Final = 24
_STORE_WAITING: Final = 20_000
#: Calls that ask the broker at once.
_BROKER_THREADS: Final = 4
#: Uploads whose header is waited for at once, and headers read at once. One that waits too long is
#: accepted without: the batch processor checks it.
_WORKBOOK_THREADS: Final = 32
_HEADERS: Final = 2


@dataclass
class Context:
    """The ports, and what is built on them. One per application and event loop."""

    settings: Settings
    broker: Broker
    store: JobStore
    files: FileStore
    ml: MlRelay
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        settings = self.settings
        self.threads = ThreadPool(_STORE_THREADS, "store", _STORE_WAITING)
        self.broker_threads = ThreadPool(_BROKER_THREADS, "broker")
        self.workbook_threads = ThreadPool(_WORKBOOK_THREADS, "workbook")
        self.workbooks = WorkbookReader(settings.max_unpacked_mb, _HEADERS)
        self.publisher = JobPublisher(self.broker, self.store, self.threads, self.metrics)
        self.writer = JobWriter(self.store, self.threads, self.publisher)
        self.events = JobEvents(self.store, self.threads, self.metrics)
        self.queues = QueueDepths(
            self.broker, self.broker_threads, self.metrics, settings.queue_bound
        )
        self.schema = SchemaCache(self.ml, self.metrics)
        self.callback_urls = CallbackUrls(settings)
        self.sync_factorial = SyncFactorial(settings.concurrency, settings.task_seconds)

    def close(self) -> None:
        """End the threads. The caller closes the ports."""
        self.threads.close()
        self.broker_threads.close()
        self.workbooks.close()
        self.workbook_threads.close()
        self.sync_factorial.close()
