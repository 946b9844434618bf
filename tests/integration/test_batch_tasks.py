"""Predictions, factorials and webhooks through the processor, on either pair of adapters."""

import json
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
import redis

from aimq.broker.connect import connect_broker
from aimq.broker.topology import FACTORIALS, TASKS, WEBHOOKS, WORK_QUEUES, queue_of
from aimq.factorial import digits, factorial
from aimq.factorial_pool import FactorialPool
from aimq.files import connect_files
from aimq.jobs.connect import connect_store
from aimq.jobs.job import Job, Status
from aimq.messages import Kind, Message
from aimq.ml_client.blocking import MlClient
from aimq.settings import load_settings
from aimq.webhooks.signature import is_genuine
from aimq.workbook.reader import WorkbookReader
from batch_processor.app import consumer_context
from batch_processor.consumers import Consumers, consumer_configs
from batch_processor.factorials import FactorialHandler
from batch_processor.memory_budget import MemoryBudget
from batch_processor.predictions import PredictionHandler
from batch_processor.spreadsheets import SpreadsheetHandler
from batch_processor.webhooks import WebhookHandler
from batch_processor.work import one_by_one, webhook_job
from tests.job_changes import PATIENCE, until
from tests.ml_stand_in import Fault, ml_stand_in
from tests.servers.tls import TlsFront, certificate

SECRET = "a secret of the tests"


def record(kilometers=1000):
    return {"model_group": "A", "kilometers": kilometers, "age_in_months": 10}


class Receiver:
    """A server that takes webhooks; `answers` are used up in order, then 200."""

    def __init__(self):
        self.got, self.answers, self.paths = [], [], []
        self.arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with receiver.arrived:
                    receiver.got.append((dict(self.headers), body))
                    receiver.paths.append(self.path)
                    receiver.arrived.notify_all()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def wait(self, count):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.got) >= count, PATIENCE), self.got

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Plant:
    def __init__(self, settings):
        self.settings = settings
        self.broker, self.store = connect_broker(settings), connect_store(settings)
        self.files = connect_files(settings)
        self.client = MlClient(settings)
        self.reader = WorkbookReader(settings.max_unpacked_mb)
        self.pool = FactorialPool(settings.concurrency, settings.task_seconds)
        self.consumers = None

    def start(self, queues=WORK_QUEUES):
        handlers = {
            Kind.SPREADSHEET: one_by_one(
                SpreadsheetHandler(
                    self.files, self.client, self.reader, MemoryBudget(2**30, 2), self.settings
                )
            ),
            Kind.PREDICTION: PredictionHandler(self.client, self.settings.max_body_kb * 512),
            Kind.FACTORIAL: one_by_one(FactorialHandler(self.files, self.pool)),
            Kind.WEBHOOK: one_by_one(WebhookHandler(self.store, self.settings)),
        }
        self.consumers = Consumers(
            self.broker,
            consumer_context(self.settings, self.store, self.broker),
            consumer_configs(self.settings, handlers, queues),
        )
        self.consumers.start()

    def submit(self, *jobs):
        self.store.create(jobs)
        sent = [
            self.broker.publish(queue_of(job.kind), Message(job_id=job.job_id, kind=job.kind))
            for job in jobs
        ]
        for future in sent:
            future.result(PATIENCE)
        return [job.job_id for job in jobs]

    def predict(self, *records, **more):
        return self.submit(
            *(Job(kind=Kind.PREDICTION, input=msgspec.json.encode(r), **more) for r in records)
        )

    def factorial(self, *numbers):
        return self.submit(*(Job(kind=Kind.FACTORIAL, input=b'{"no":%d}' % no) for no in numbers))

    def until(self, condition):
        until(self.store, condition)

    def finished(self, *ids):
        self.until(lambda: all(self.store.get(id_).final for id_ in ids))
        return [self.store.get(id_) for id_ in ids]

    def dead(self, queue):
        self.until(lambda: self.broker.dead_letters(queue))
        return self.broker.dead_letters(queue)

    def close(self):
        if self.consumers:
            self.consumers.stop(5.0)
        self.pool.close()
        self.client.close()
        self.broker.close()
        self.store.close()


@pytest.fixture
def ml():
    with ml_stand_in() as stand_in:
        yield stand_in


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("rabbitmq-redis", marks=[pytest.mark.rabbitmq, pytest.mark.redis]),
    ]
)
def adapters(request, tmp_path):
    if request.param == "embedded":
        return {}
    broker = request.getfixturevalue("rabbitmq_server").new_vhost()
    store = request.getfixturevalue("redis_url").removesuffix("/0") + "/7"
    with redis.Redis.from_url(store) as client:
        client.flushdb()
    return {"broker_url": broker, "store_url": store}


@pytest.fixture
def make(adapters, ml, tmp_path):
    plants = []

    def make(**more):
        given = {
            "data_dir": tmp_path / "data", "ml_url": ml.url, "concurrency": 2, "lease_seconds": 1.0,
            "retry_base_seconds": 0.05, "retry_max_seconds": 0.4, "webhook_secret": SECRET,
            "webhook_allow_private": True, "webhook_attempts": 4, **adapters, **more,
        }  # fmt: skip
        plants.append(Plant(load_settings(**given)))
        return plants[-1]

    yield make
    for plant in plants:
        plant.close()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_many_waiting_records_go_in_few_requests_and_each_gets_its_own_answer(make, ml):
    plant = make()
    ids = plant.predict(*(record(n) for n in range(1000)))
    plant.start()
    jobs = plant.finished(*ids)
    prices = [json.loads(job.result)["predicted_price"] for job in jobs]
    assert {job.status for job in jobs} == {Status.DONE}
    assert prices == [2_000_000 - n - 1000 for n in range(1000)]
    assert jobs[0].model_versions == {"A": "v1"}
    assert len([path for path, _, _ in ml.requests if path == "/predict/onnx"]) < 100


def test_a_wrong_record_fails_alone_and_is_dead_lettered(make, ml):
    plant = make()
    ids = plant.predict(record(1), record(2), record(3))
    answers = [
        {"predicted_price": 1.0, "model_group": "A", "model_version": "v1"},
        {"error": "doors: 9 is not from 2 to 5", "errors": [{"field": "doors"}]},
        {"predicted_price": 3.0, "model_group": "A", "model_version": "v1"},
    ]
    plant.client.predict_records = lambda records, _: [
        answers[json.loads(bytes(r))["kilometers"] - 1] for r in records
    ]
    plant.start()
    first, wrong, third = plant.finished(*ids)
    assert (first.status, third.status) == (Status.DONE, Status.DONE)
    assert (wrong.status, wrong.error) == (Status.FAILED, "doors: 9 is not from 2 to 5")
    (letter,) = plant.dead(TASKS)
    assert (letter.message_id, letter.failure.error_type) == (wrong.job_id, "Invalid")


def test_large_records_of_one_client_fail_no_task_of_another(make):
    plant = make()
    large = [record(n) | {"note": "x" * 600_000} for n in (1, 2)]
    ids = plant.predict(*(record(n) for n in range(50)), *large, *(record(n) for n in range(50)))
    plant.start()
    innocent = plant.finished(*ids[:50], *ids[52:])
    assert {(job.status, job.attempts) for job in innocent} == {(Status.DONE, 1)}


def test_predictions_wait_for_an_ml_service_that_is_away(make, ml):
    plant = make()
    ml.faults.extend([Fault(status=503)] * 2)
    ids = plant.predict(record(1), record(2))
    plant.start()
    assert {job.status for job in plant.finished(*ids)} == {Status.DONE}


def test_factorials_are_exact_and_long_ones_lie_in_files(make):
    plant = make()
    short, long_ = plant.factorial(10, 25_000)
    plant.start()
    one, other = plant.finished(short, long_)
    assert json.loads(one.result) == {"digits": 7, "preview": "3628800", "output": "3628800"}
    assert "output" not in json.loads(other.result)
    with plant.files.open(other.result_key) as file:
        assert file.read().decode() == digits(factorial(25_000))


def test_any_number_of_long_tasks_does_not_starve_short_ones(make):
    plant = make(factorial_max=10**6)
    slow = plant.factorial(*[400_000] * 12)
    plant.start()
    quick = plant.predict(*(record(n) for n in range(50)))
    assert {job.status for job in plant.finished(*quick)} == {Status.DONE}
    assert not any(plant.store.get(id_).final for id_ in slow)
    for id_ in slow:
        plant.store.cancel(id_)


def test_a_cancel_stops_the_computation(make):
    plant = make(concurrency=1)
    [slow] = plant.factorial(900_000)
    plant.start()
    plant.until(lambda: plant.pool._pool._busy)
    (child,) = plant.pool._pool._busy
    plant.store.cancel(slow)
    [quick] = plant.factorial(5)
    assert plant.finished(quick)[0].status is Status.DONE
    assert child._process.returncode == -9
    assert plant.store.get(slow).status is Status.CANCELLED


def test_the_time_limit_of_a_task_fails_it_with_advice(make):
    plant = make(task_seconds=0.3)
    [slow] = plant.factorial(900_000)
    plant.start()
    (job,) = plant.finished(slow)
    assert job.status is Status.FAILED
    assert "0.3 s" in job.error
    (letter,) = plant.dead(FACTORIALS)
    assert letter.failure.error_type == "TaskTooLong"


def test_a_process_that_keeps_dying_fails_its_task_and_no_other(make):
    plant = make(concurrency=1, max_attempts=2)
    [poison] = plant.factorial(900_000)
    plant.start()
    for _ in range(2):
        plant.until(lambda: plant.pool._pool._busy)
        (child,) = plant.pool._pool._busy
        child.kill()
        plant.until(lambda child=child: child not in plant.pool._pool._busy)
    [quick] = plant.factorial(5)
    failed, done = plant.finished(poison, quick)
    assert done.status is Status.DONE
    assert failed.status is Status.FAILED
    assert "died (signal 9)" in failed.error


def test_the_death_of_this_process_does_not_count_against_a_factorial(make):
    plant = make()
    [innocent] = plant.factorial(10)
    for _ in range(plant.settings.delivery_limit):
        plant.store.claim([innocent], "a worker that dies of something else", 0.01)
        threading.Event().wait(0.02)  # the lease runs out by the store's clock
    plant.start()
    assert plant.finished(innocent)[0].status is Status.DONE


def test_a_stop_hands_a_long_task_back_and_another_worker_does_it(make):
    first = make(factorial_max=10**6)
    [slow] = first.factorial(60_000)
    first.start()
    first.until(lambda: first.pool._pool._busy)
    first.consumers.stop(0.2)
    first.consumers = None
    assert first.store.get(slow).status in {Status.QUEUED, Status.DONE}
    second = make()
    second.start()
    (job,) = second.finished(slow)
    assert json.loads(job.result)["digits"] == 260_635


class TestWebhooks:
    def test_the_result_is_sent_signed(self, make, receiver):
        plant = make()
        plant.start()
        [task] = plant.predict(record(7), callback_url=receiver.url)
        receiver.wait(1)
        ((headers, body),) = receiver.got
        prediction = {
            "predicted_price": 1_998_993, "model_group": "A", "model_version": "v1",
        }  # fmt: skip
        assert json.loads(body) == {
            "task_id": task, "status": "done", "result": prediction, "error": None,
        }  # fmt: skip
        stamp = headers["webhook-timestamp"]
        signed = (headers["webhook-id"], stamp, headers["webhook-signature"])
        assert is_genuine(SECRET, *signed, body, int(stamp))
        assert not is_genuine("another", *signed, body, int(stamp))
        assert headers["webhook-id"] == f"{task}-done"

    def test_failures_are_told_too(self, make, ml, receiver):
        plant = make()
        ml.fault_for_all = Fault(status=422, body=b'{"detail": "wrong"}')
        plant.start()
        plant.predict(record(7), callback_url=receiver.url)
        receiver.wait(1)
        body = json.loads(receiver.got[0][1])
        assert (body["status"], body["result"], body["error"]) == ("failed", None, "wrong")

    def test_it_is_tried_again_with_the_same_id(self, make, receiver):
        plant = make()
        receiver.answers = [(500, {}), (503, {"Retry-After": "0"}), (302, {"Location": "/x"})]
        plant.start()
        plant.predict(record(7), callback_url=receiver.url)
        receiver.wait(4)
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
        assert set(receiver.paths) == {"/hook"}  # the redirect was not followed

    def test_given_up_it_is_a_dead_letter_that_says_why(self, make, receiver):
        plant = make(webhook_attempts=2)
        receiver.answers = [(500, {})] * 2
        plant.start()
        [task] = plant.predict(record(7), callback_url=receiver.url)
        (letter,) = plant.dead(WEBHOOKS)
        assert "answers 500" in letter.failure.error
        assert len(receiver.got) == 2
        assert plant.store.get(task).status is Status.DONE

    def test_gone_means_no_more(self, make, receiver):
        plant = make()
        receiver.answers = [(410, {})]
        plant.start()
        plant.predict(record(7), callback_url=receiver.url)
        (letter,) = plant.dead(WEBHOOKS)
        assert (letter.failure.error_type, len(receiver.got)) == ("Gone", 1)

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "inside.x"])
    def test_it_never_goes_inside(self, make, receiver, host, monkeypatch):
        plant = make(webhook_allow_private=False)
        if host == "inside.x":  # a name of the internet that leads to an address of ours
            resolve_to(monkeypatch, "inside.x", ["93.184.216.34", "127.0.0.1"])
        port = receiver.server.server_port
        plant.start()
        plant.predict(record(7), callback_url=f"http://{host}:{port}/hook")
        (letter,) = plant.dead(WEBHOOKS)
        assert "loopback, private or link-local" in letter.failure.error
        assert receiver.got == []

    def test_what_was_checked_is_what_is_connected_to(self, make, receiver, monkeypatch):
        answers = [["127.0.0.1"], ["10.0.0.1"]]
        asked = resolve_to(monkeypatch, "rebinding.x", answers)
        plant = make()
        plant.start()
        url = f"http://rebinding.x:{receiver.server.server_port}/hook"
        plant.predict(record(7), callback_url=url)
        receiver.wait(1)
        assert asked == ["rebinding.x"]
        assert receiver.got[0][0]["Host"].startswith("rebinding.x:")

    @pytest.mark.parametrize("name", ["receiver.x", "another.x"])
    def test_over_tls_the_receivers_certificate_counts(
        self, make, receiver, name, monkeypatch, tmp_path
    ):
        chain, private = certificate(tmp_path, "receiver.x")
        front = TlsFront(receiver.server.server_port, chain, private)
        monkeypatch.setattr(WebhookHandler, "_tls", ssl.create_default_context(cafile=chain))
        resolve_to(monkeypatch, name, ["127.0.0.1"])
        plant = make(webhook_attempts=1)
        plant.start()
        plant.predict(record(7), callback_url=f"https://{name}:{front.port}/hook")
        if name == "receiver.x":
            receiver.wait(1)
        else:
            (letter,) = plant.dead(WEBHOOKS)
            assert "cannot be reached" in letter.failure.error
            assert receiver.got == []
        front.close()

    def test_one_left_over_by_a_death_waits_until_its_task_is_final(self, make, receiver):
        plant = make()
        task = Job(kind=Kind.PREDICTION, callback_url=receiver.url, input=b"{}")
        plant.store.create([task])
        left_over = webhook_job(task)
        plant.submit(left_over)
        plant.start([WEBHOOKS])
        plant.until(lambda: plant.store.get(left_over.job_id).attempts)
        assert receiver.got == []
        plant.store.fail(task.job_id, "it failed")
        receiver.wait(1)
        assert json.loads(receiver.got[0][1])["error"] == "it failed"

    def test_of_a_deleted_task_nothing_is_told(self, make, receiver):
        plant = make()
        gone = webhook_job(Job(kind=Kind.PREDICTION, callback_url=receiver.url))
        plant.submit(gone)
        plant.start([WEBHOOKS])
        assert plant.finished(gone.job_id)[0].status is Status.DONE
        assert receiver.got == []

    def test_a_slow_drip_does_not_hold_a_thread(self, make, receiver):
        plant = make(webhook_timeout_seconds=0.3, webhook_attempts=1)
        release = threading.Event()

        def drip(request, *_):
            while not release.wait(0.1):
                request.sendall(b"H")

        receiver.server.RequestHandlerClass = drip
        plant.start()
        plant.predict(record(7), callback_url=receiver.url)
        (letter,) = plant.dead(WEBHOOKS)
        release.set()
        assert letter.failure.error_type == "WebhookFailed"


def resolve_to(monkeypatch, name, answers):
    """Have a name resolve to addresses; several lists: one after the other."""
    real, asked = socket.getaddrinfo, []

    def resolve(host, port, *args, **kwargs):
        if host != name:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        found = answers if isinstance(answers[0], str) else answers[len(asked) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked
