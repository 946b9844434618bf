"""Whose claims are renewed, and when."""

import threading
from contextlib import closing

import pytest

from aimq.broker.port import Delivery
from aimq.errors import StoreUnavailable
from aimq.jobs.job import Job
from aimq.jobs.port import Claim
from aimq.messages import Kind, Message
from batch_processor.claiming import Claims
from batch_processor.disposition import Stopped
from batch_processor.work import Work

PATIENCE = 10.0


class Store:
    """Notes renewals; answers with `held`, or as if it were away."""

    def __init__(self):
        self.renewed, self.calls = threading.Event(), 0
        self.held, self.away = True, False

    def renew(self, claims, _lease):
        self.calls += 1
        self.renewed.set()
        if self.away:
            raise StoreUnavailable("away")
        return [self.held] * len(claims)

    def again(self):
        self.renewed.clear()
        assert self.renewed.wait(PATIENCE)


def work():
    job = Job(kind=Kind.FACTORIAL)
    delivery = Delivery(queue="q", body=b"", message_id=job.job_id)
    message = Message(job_id=job.job_id, kind=job.kind)
    return Work(delivery, message, Claim(job=job, token="t"), store=None)


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def claims(store):
    with closing(Claims(store, "test", 0.03)) as claims:
        claims.start()
        yield claims


def test_claims_are_renewed_while_they_are_worked_on_and_no_longer(store, claims):
    for _ in range(2):
        with claims.renewed([work()]):
            store.again()
            store.again()
        assert claims.held() == []
        assert not claims._working.is_set()  # its thread sleeps


def test_work_whose_claim_is_void_is_cancelled(store, claims):
    one = work()
    store.held = False
    with claims.renewed([one]):
        store.again()
        store.again()
        with pytest.raises(Stopped):
            one.check()


def test_an_outage_of_the_store_cancels_nothing(store, claims):
    one = work()
    store.away = True
    with claims.renewed([one]):
        store.again()
        store.away = False
        store.again()
        one.check()


def test_it_can_be_closed_while_nothing_is_held(store):
    claims = Claims(store, "test", 60.0)
    claims.start()
    claims.close()
    assert store.calls == 0
