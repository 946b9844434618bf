"""A training under way keeps nothing waiting, and outlives neither its claim nor its worker."""

import os
import select
import sys
from contextlib import closing

import msgspec
import pytest

from aimq.broker.connect import connect_broker
from aimq.broker.topology import UPLOADS
from aimq.files import connect_files
from aimq.files.keys import upload_key
from aimq.jobs.connect import connect_store
from aimq.jobs.job import Job, Status
from aimq.jobs.port import Claim
from aimq.jobs.training import Training
from aimq.messages import Kind, Message
from aimq.settings import load_settings
from batch_processor.app import consumer_context
from batch_processor.consumers import Consumers, consumer_configs
from batch_processor.disposition import Ack
from batch_processor.training import TrainingHandler
from batch_processor.work import one_by_one
from tests.job_changes import PATIENCE, until


@pytest.fixture
def site(tmp_path):
    """Yield a store, a way to send jobs, the consumers of one thread, and a stand-in's pipe."""
    settings = load_settings(
        data_dir=tmp_path / "data", models_dir=tmp_path / "models", concurrency=1, prefetch=1
    )
    pipe, script = tmp_path / "pipe", tmp_path / "stand_in.py"
    os.mkfifo(pipe)
    script.write_text(
        f"import time; o = open({str(pipe)!r}, 'wb', 0); o.write(b'.'); time.sleep({10 * PATIENCE})"
    )
    files = connect_files(settings)
    with closing(connect_broker(settings)) as broker, closing(connect_store(settings)) as store:
        train = TrainingHandler(files, settings, 2**30, (sys.executable, str(script)))
        handlers = {
            Kind.SPREADSHEET: one_by_one(lambda _work: Ack()),
            Kind.TRAINING: one_by_one(train),
        }
        context = consumer_context(settings, store, broker)
        configs = consumer_configs(settings, dict.fromkeys(Kind) | handlers, [UPLOADS])
        consumers = Consumers(broker, context, configs)

        def send(kind, crashes=0):
            asked = msgspec.json.encode(Training(target="price", ending=".csv"))
            job = Job(kind=kind, model="houses", input=asked)
            with script.open("rb") as table:
                files.put(upload_key(job.job_id), table)
            store.create([job])
            for _ in range(crashes):  # a claim is given once the one before has run out
                until(store, lambda: isinstance(store.claim([job.job_id], "dead", 0.001)[0], Claim))
            broker.publish(UPLOADS, Message(job_id=job.job_id, kind=kind)).result(PATIENCE)
            return job.job_id

        end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        consumers.start()
        yield store, send, consumers, end
        consumers.stop(1.0)
        os.close(end)


def begun(end):
    assert select.select([end], [], [], PATIENCE)[0]
    assert os.read(end, 1) == b"."


def gone(end):
    """True once no process holds the other end of the pipe."""
    assert select.select([end], [], [], PATIENCE)[0]
    return os.read(end, 1) == b""


def test_an_upload_is_scored_while_a_training_takes_its_time(site):
    store, send, _, end = site
    training = send(Kind.TRAINING)
    begun(end)
    uploads = [send(Kind.SPREADSHEET) for _ in range(3)]
    until(store, lambda: all(store.get(job_id).final for job_id in uploads))

    assert [store.get(job_id).status for job_id in uploads] == [Status.DONE] * 3
    assert store.get(training).status == Status.PROCESSING


def test_a_training_that_is_cancelled_is_ended(site):
    store, send, _, end = site
    training = send(Kind.TRAINING)
    begun(end)
    store.cancel(training)

    assert gone(end)


def test_a_training_is_put_back_when_its_worker_stops(site):
    store, send, consumers, end = site
    training = send(Kind.TRAINING)
    begun(end)
    consumers.stop(1.0)

    assert gone(end)
    assert store.get(training).status == Status.QUEUED


def test_a_training_that_crashes_its_workers_is_given_up(site):
    store, send, _, _ = site
    training = send(Kind.TRAINING, crashes=3)
    until(store, lambda: store.get(training).final)

    assert "ended 3 times with the death of its worker" in store.get(training).error


def test_a_training_that_crashed_a_worker_keeps_no_upload_waiting(site):
    store, send, _, end = site
    send(Kind.TRAINING, crashes=1)
    begun(end)
    upload = send(Kind.SPREADSHEET)
    until(store, lambda: store.get(upload).final)

    assert store.get(upload).status == Status.DONE
