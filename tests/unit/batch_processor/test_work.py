"""What a handler may do with its work while it lasts."""

import pytest

from aimq.broker.port import Delivery
from aimq.errors import StoreUnavailable
from aimq.jobs.job import Job
from aimq.jobs.port import Claim
from aimq.messages import Kind, Message
from batch_processor.disposition import Stopped
from batch_processor.work import Work


class Store:
    """A store that answers a report of progress as it is told."""

    def __init__(self, answer):
        self._answer = answer

    def progress(self, claim, **counts):
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def progress(answer):
    job = Job(kind=Kind.SPREADSHEET)
    delivery = Delivery(queue="q", body=b"", message_id=job.job_id)
    message = Message(job_id=job.job_id, kind=job.kind)
    work = Work(delivery, message, Claim(job=job, token="t"), Store(answer))
    work.progress(rows_total=2, rows_done=1, rows_failed=0)
    return work


def test_work_goes_on_while_its_progress_cannot_be_stored():
    progress(StoreUnavailable("Redis cannot be reached")).check()


def test_a_void_claim_ends_the_work():
    with pytest.raises(Stopped):
        progress(False)
