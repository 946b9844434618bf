"""What the routes of the interface share."""

from __future__ import annotations

from dataclasses import dataclass, field

from aimq.broker.port import Broker
from aimq.files import FileStore
from aimq.jobs.port import JobStore
from aimq.ml_client.relay import MlRelay
from aimq.settings import Settings
from aimq.workbook.header import HeaderReader
from interface.backlog import Backlog
from interface.baseline import Baseline
from interface.callbacks import Callbacks
from interface.events import JobEvents
from interface.metrics import Metrics
from interface.publisher import Publisher
from interface.recorder import Recorder
from interface.schema_cache import SchemaCache
from interface.threads import Threads

#: Store and file calls at once, and calls that ask the broker.
_STORE_THREADS = 24
_BROKER_THREADS = 4
#: Uploads whose header is read at once.
_WORKBOOK_THREADS = 2


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
        self.threads = Threads(_STORE_THREADS, "store")
        self.broker_threads = Threads(_BROKER_THREADS, "broker")
        self.workbook_threads = Threads(_WORKBOOK_THREADS, "workbook")
        self.workbooks = HeaderReader(self.settings.max_unpacked_mb, _WORKBOOK_THREADS)
        self.publisher = Publisher(self.broker, self.store, self.threads, self.metrics)
        self.recorder = Recorder(self.store, self.threads, self.publisher)
        self.events = JobEvents(self.store, self.threads, self.metrics)
        self.backlog = Backlog(
            self.broker, self.broker_threads, self.metrics, self.settings.queue_bound
        )
        self.schema = SchemaCache(self.ml, self.metrics)
        self.callbacks = Callbacks(self.settings)
        self.baseline = Baseline(self.settings.concurrency, self.settings.task_seconds)

    def close(self) -> None:
        """End the threads. The ports stay their maker's to close."""
        self.threads.close()
        self.broker_threads.close()
        self.workbooks.close()
        self.workbook_threads.close()
        self.baseline.close()


def upload_key(job_id: str) -> str:
    """Return the file key of a job's upload."""
    return f"uploads/{job_id}.xlsx"


def result_key(job_id: str) -> str:
    """Return the file key of a job's result."""
    return f"results/{job_id}.xlsx"


def digits_key(job_id: str) -> str:
    """Return the file key of a factorial too long for the job's record."""
    return f"results/{job_id}.txt"


def file_keys(job_id: str) -> tuple[str, ...]:
    """Return every key under which a job of whatever kind may have a file."""
    return upload_key(job_id), result_key(job_id), digits_key(job_id)
