"""A broker and a job store as a test's `settings` describe them."""

from __future__ import annotations

import pytest

from aimq.broker.connect import connect_broker
from aimq.jobs.connect import connect_store


@pytest.fixture
def broker(settings):
    broker = connect_broker(settings)
    yield broker
    broker.close()


@pytest.fixture
def store(settings):
    store = connect_store(settings)
    yield store
    store.close()
