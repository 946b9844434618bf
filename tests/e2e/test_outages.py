"""Servers and services that go away under load, seen from outside: real processes."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pika
import pytest

from aimq.jobs.connect import connect_store
from aimq.settings import Settings
from batch_processor.spreadsheets import REPORT_SECONDS
from tests.ml_stand_in import Fault, ml_stand_in
from tests.servers.plugin import private
from tests.servers.rabbitmq import RabbitServer
from tests.services import Service
from tests.system import constants, environment, free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
on_servers = [pytest.mark.rabbitmq, pytest.mark.redis]


@pytest.fixture(scope="module")
def rabbitmq_server():
    """The module's own: it is back soon, with no queues of other tests to recover."""
    with private(RabbitServer) as server:
        yield server


@pytest.fixture
def on_rabbitmq(make_services, ml):
    return make_services("servers", ml.url)


@pytest.mark.rabbitmq
@pytest.mark.redis
def test_uploads_are_accepted_while_rabbitmq_is_away_and_done_when_it_is_back(
    on_rabbitmq, workbook
):
    services = on_rabbitmq
    processor = services.service("batch-processor")
    services.run(services.interface, processor)
    pids = services.interface.pid, processor.pid
    before = [services.upload(workbook(2)) for _ in range(3)]
    services.rabbit.stop()
    try:
        during = [services.upload(workbook(2)) for _ in range(6)]
        problem = services.until(
            lambda: (said := services.http.get("/health/ready").json()["broker"]) != "up" and said
        )
        assert "RabbitMQ at 127.0.0.1" in problem
        assert services.http.get("/health/ready").status_code == 200
        assert services.http.get("/dead-letters").status_code == 503
        assert services.job(during[0])["status"] == "queued"
    finally:
        services.rabbit.start()
    assert [services.finished(job)["status"] for job in before + during] == ["done"] * 9
    services.all_is_quiet()
    assert (services.interface.process.poll(), processor.process.poll()) == (None, None)
    assert (services.interface.pid, processor.pid) == pids


def test_jobs_wait_for_the_ml_service_without_holding_a_worker(services, workbook):
    """One worker, six jobs: all are tried again and again, so that none holds it.

    They have used up their attempts when the service is back and asks for patience.
    """
    [port] = free_ports(1)
    services.configure(
        AIMQ_ML_URL=f"http://127.0.0.1:{port}",
        AIMQ_CONCURRENCY="1",
        AIMQ_RETRY_BASE_SECONDS="0.1",
        AIMQ_RETRY_MAX_SECONDS="12",  # patience is five times it, for a slow machine
    )
    processor = services.service("batch-processor")
    with ml_stand_in(port):
        services.run(services.interface, processor)
        assert services.finished(services.upload(workbook(1)))["status"] == "done"
    jobs = [services.upload(workbook(2)) for _ in range(6)]

    def tried_again():
        found = [services.job(job) for job in jobs]
        return all(one["attempts"] >= 5 for one in found) and found

    services.until(tried_again)
    waiting = [services.becomes(job, "retrying") for job in jobs]
    assert all("ML service cannot be reached" in job["error"] for job in waiting)
    metrics = services.until(lambda: httpx.get(f"{processor.url}/metrics").text)
    assert 'aimq_work_active{kind="spreadsheet"} 0.0' in metrics
    if services.rabbit:  # nothing but retry queues holds them, and no consumer
        services.until(
            lambda: (
                (left := services.left()) and all(name.startswith("aimq.retry.") for name in left)
            )
        )
    with ml_stand_in(port) as back:
        back.faults.extend([Fault(503, {"Retry-After": "0"}, b"loading the models")] * 6)
        assert [services.finished(job)["status"] for job in jobs] == ["done"] * 6
    assert services.dead_letters() == []
    services.all_is_quiet()


@pytest.mark.redis
@pytest.mark.rabbitmq
def test_uploads_are_refused_while_redis_is_away_and_work_in_hand_is_kept(
    on_rabbitmq, ml, workbook
):
    services = on_rabbitmq
    processor = services.service("batch-processor")
    services.run(services.interface, processor)
    started, go_on = threading.Event(), threading.Event()
    ml.faults.append(Fault(before=lambda: (started.set(), go_on.wait(60))))
    in_hand = services.upload(workbook(4))
    assert started.wait(60)
    store = connect_store(Settings(store_url=services.environ["AIMQ_STORE_URL"]))
    with closing(store):  # else the sweep would publish it again once Redis is back
        services.until(lambda: store.get(in_hand).published)
    services.redis.stop()
    answer = services.post(workbook(1))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Redis" in answer.json()["detail"]
    time.sleep(REPORT_SECONDS)  # so that progress is to be stored, too
    go_on.set()
    services.until(lambda: processor.says("Outcomes wait to be stored"))
    services.redis.start()
    job = services.finished(in_hand)
    assert (job["status"], job["attempts"]) == ("done", 1)
    assert services.finished(services.upload(workbook(1)))["status"] == "done"
    services.all_is_quiet()
    assert ml.rows.count(4) == 1  # not done twice


def test_uploads_are_refused_while_the_disk_takes_none(make_services, ml, workbook):
    services = make_services("embedded", ml.url)
    services.run(services.interface)
    uploads = services.folder / "data" / "files" / "uploads"
    services.upload(workbook(1))
    shutil.rmtree(uploads)
    uploads.write_bytes(b"")
    answer = services.post(workbook(1))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    uploads.unlink()
    assert services.post(workbook(1)).status_code == 202


def test_a_processor_that_is_asked_to_stop_hands_its_job_to_another(services, ml, workbook):
    [port] = free_ports(1)
    first = services.service("batch-processor", **constants(shutdown_seconds=1))
    second = services.service("batch-processor 2", AIMQ_METRICS_PORT=str(port))
    services.run(services.interface, first)
    started, go_on = threading.Event(), threading.Event()
    ml.faults.append(Fault(before=lambda: (started.set(), go_on.wait(60))))
    job_id = services.upload(workbook(4))
    assert started.wait(60)
    services.run(second)
    first.terminate()
    assert first.wait() == 0
    job = services.finished(job_id)
    go_on.set()
    assert (job["status"], job["rows_done"], job["attempts"]) == ("done", 4, 2)
    services.all_is_quiet()
    assert second.stop() == 0


def test_the_interface_answers_what_it_has_begun_before_it_stops(services, workbook):
    services.run(services.interface)
    body = workbook(2)
    half_sent, go_on = threading.Event(), threading.Event()
    head = (
        b"--x\r\nContent-Disposition: form-data; name=file; filename=cars.xlsx\r\n"
        b"Content-Type: application/octet-stream\r\n\r\n"
    )

    def slowly():
        yield head + body[:1000]
        half_sent.set()
        assert go_on.wait(60)
        yield body[1000:] + b"\r\n--x--\r\n"

    with ThreadPoolExecutor(1) as thread:
        upload = thread.submit(
            httpx.post,
            f"{services.interface.url}/upload",
            content=slowly(),
            headers={"content-type": "multipart/form-data; boundary=x"},
            timeout=60,
        )
        assert half_sent.wait(60)
        services.until(lambda: services.http.get("/health/live").is_success)  # it has read it
        services.interface.terminate()
        services.until(lambda: _refuses(services.interface))
        go_on.set()
        answer = upload.result()
    assert answer.status_code == 202, answer.text
    assert services.interface.wait() == 0
    services.run(services.interface, services.service("batch-processor"))
    assert services.finished(answer.json()["job_id"])["status"] == "done"


def test_the_ml_service_answers_what_it_has_begun_before_it_stops(trained_models, tmp_path):
    service = Service("ml-service", environment(tmp_path, trained_models), tmp_path / "log")
    service.start()
    try:
        service.wait_ready()
        record = httpx.get(f"{service.url}/openapi.json").json()  # warm
        assert record
        schema = httpx.get(f"{service.url}/models").json()["schema"]
        assert schema
        begun, go_on = threading.Event(), threading.Event()

        def slowly():
            yield b"["
            begun.set()
            assert go_on.wait(60)
            yield b"{}]"

        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(
                httpx.post,
                f"{service.url}/predict/onnx",
                content=slowly(),
                headers={"content-type": "application/json"},
                timeout=60,
            )
            assert begun.wait(60)
            assert httpx.get(f"{service.url}/health/live").is_success
            service.terminate()
            while not _refuses(service):
                pass
            go_on.set()
            answer = asked.result()
        assert answer.status_code == 200, answer.text
        assert "error" in answer.json()[0]
        assert service.wait() == 0
    finally:
        service.kill()


@pytest.mark.rabbitmq
@pytest.mark.redis
def test_a_queue_of_other_arguments_is_named_with_the_way_to_migrate(on_rabbitmq, workbook):
    services = on_rabbitmq
    parameters = pika.URLParameters(services.environ["AIMQ_BROKER_URL"])
    with pika.BlockingConnection(parameters) as link:
        link.channel().queue_declare("aimq.uploads", durable=True)
    processor = services.service("batch-processor")
    services.run(services.interface)
    processor.start()
    try:
        services.until(lambda: processor.says("Waiting: Queue aimq.uploads of RabbitMQ"))
        [said] = {
            line.partition("Waiting: ")[2]
            for line in processor.log.read_text().splitlines()
            if "Waiting: Queue" in line
        }
        assert "exists with other arguments" in said
        assert "rabbitmqctl delete_queue aimq.uploads" in said
        waiting = services.upload(workbook(1))  # accepted all the same
        with pika.BlockingConnection(parameters) as link:
            link.channel().queue_delete("aimq.uploads")
        assert services.finished(waiting)["status"] == "done"  # without a restart
        assert processor.process.poll() is None
    finally:
        processor.kill()
    assert processor.says("Traceback") == 0


def _refuses(service):
    """Tell whether a service takes no connection or says that it is not ready."""
    try:
        return httpx.get(f"{service.url}/health/ready", timeout=5).status_code == 503
    except httpx.TransportError:
        return True
