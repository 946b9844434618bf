"""What is given up, from outside: over HTTP, on the command line, and in RabbitMQ itself."""

import json
import sys
import uuid
from datetime import datetime
from pathlib import Path

import pika
import pytest

from aimq.messages import Kind, Message, encode
from tests.ml_stand_in import Fault

pytestmark = pytest.mark.timeout(180)

LATE = Fault(504, body=b"late")
WORKER = Path(__file__).parent / "poisoned_worker.py"


def raw_messages(services, queue):
    """Return properties and body of all messages of a queue, as RabbitMQ has them."""
    with pika.BlockingConnection(pika.URLParameters(services.environ["AIMQ_BROKER_URL"])) as link:
        channel = link.channel()
        found = []
        while (got := channel.basic_get(queue))[0] is not None:
            found.append(got[1:])
        return found  # closing the connection puts them back


def put(services, body, message_id=""):
    """Put any bytes on the work queue, as any program may."""
    if services.rabbit is None:
        services.broker.publish_body("aimq.uploads", body, message_id).result(30)
        return
    with pika.BlockingConnection(pika.URLParameters(services.environ["AIMQ_BROKER_URL"])) as link:
        link.channel().basic_publish("aimq", "aimq.uploads", body)


@pytest.mark.slow
def test_exhausted_retries_end_as_a_dead_letter_that_a_replay_completes(services, ml, workbook):
    services.configure(AIMQ_MAX_ATTEMPTS="3")
    processor = services.service("batch-processor")
    services.run(services.interface, processor)
    ml.fault_for_all = LATE
    job_id = services.upload(workbook(5))

    job = services.becomes(job_id, "failed")
    assert "Given up after 3 attempts" in job["error"]
    letter = services.dead_letter()
    assert letter["queue"] == "aimq.uploads"
    assert (letter["job_id"], letter["class"], letter["attempts"]) == (job_id, "failed", 3)
    assert letter["error"] == job["error"]
    assert letter["error_type"] == "TimedOut"
    assert "Traceback" in letter["traceback"]
    assert letter["first_failed_at"] < letter["last_failed_at"]
    assert json.loads(letter["payload"])["job_id"] == job_id
    if services.rabbit:
        [(properties, body)] = raw_messages(services, "aimq.uploads.dead")
        assert (properties.message_id, properties.content_type) == (job_id, "application/json")
        assert properties.delivery_mode == pika.DeliveryMode.Persistent.value
        assert json.loads(body)["schema"] == 1
        headers = properties.headers
        assert headers["x-error"] == job["error"]
        assert headers["x-error-type"] == "TimedOut"
        assert headers["x-attempts"] == 3
        assert headers["x-first-failed-at"] < headers["x-last-failed-at"]
        assert "x-death" not in headers
    services.all_is_quiet()

    ml.fault_for_all = None
    processor.freeze()  # so that the state in between can be seen
    answer = services.http.post(f"/dead-letters/{letter['id']}/replay")
    assert answer.is_success, answer.text
    job = services.job(job_id)
    assert (job["status"], job["attempts"], job["error"]) == ("queued", 0, None)
    processor.thaw()
    job = services.finished(job_id)
    assert (job["status"], job["rows_done"], job["error"]) == ("done", 5, None)
    assert services.dead_letters() == []
    services.all_is_quiet()
    assert services.http.post(f"/dead-letters/{letter['id']}/replay").status_code == 404


@pytest.mark.slow
def test_the_command_line_lists_shows_replays_and_deletes(services, ml, workbook):
    services.configure(AIMQ_MAX_ATTEMPTS="1")
    services.run(services.interface, services.service("batch-processor"))
    assert "No dead letters" in services.aimq("dead-letters", "list")
    ml.fault_for_all = LATE
    jobs = [services.upload(workbook(1)) for _ in range(4)]
    letters = services.until(lambda: len(found := services.dead_letters()) == 4 and found)
    ids = {letter["job_id"]: letter["id"] for letter in letters}

    listed = services.aimq("dead-letters", "list")
    assert all(id_[:8] in listed for id_ in ids.values())
    assert "TimedOut" in listed
    shown = json.loads(services.aimq("dead-letters", "show", ids[jobs[0]]))
    assert shown["job_id"] == jobs[0]
    assert "Traceback" in shown["traceback"]
    services.aimq("dead-letters", "delete", ids[jobs[0]])

    ml.fault_for_all = None
    services.aimq("dead-letters", "replay", ids[jobs[1]])
    assert services.finished(jobs[1])["status"] == "done"
    assert "replayed 2" in services.aimq("dead-letters", "replay", "--all")
    assert [services.finished(job)["status"] for job in jobs[2:]] == ["done", "done"]
    assert services.job(jobs[0])["status"] == "failed"
    assert services.dead_letters() == []
    services.all_is_quiet()


@pytest.mark.slow
def test_a_replay_that_fails_again_keeps_the_history(services, ml, workbook):
    services.configure(AIMQ_MAX_ATTEMPTS="2")
    services.run(services.interface, services.service("batch-processor"))
    ml.fault_for_all = LATE
    job_id = services.upload(workbook(1))
    first = services.dead_letter()
    services.http.post(f"/dead-letters/{first['id']}/replay").raise_for_status()
    second = services.until(lambda: [one for one in services.dead_letters() if one["history"]])[0]
    assert (second["job_id"], second["attempts"], second["replays"]) == (job_id, 2, 1)
    [earlier] = second["history"]
    assert (earlier["error"], earlier["attempts"]) == (first["error"], 2)
    assert datetime.fromisoformat(earlier["last_failed_at"]) < datetime.fromisoformat(
        second["first_failed_at"]
    )
    assert services.finished(job_id)["status"] == "failed"


BAD = {
    "not JSON": b"\x00\xffnot json",
    "unknown schema version": b'{"schema":9,"job_id":"a","kind":"spreadsheet"}',
    "unknown kind": b'{"schema":1,"job_id":"b","kind":"dance"}',
    "unknown job": encode(Message(job_id=uuid.uuid4().hex, kind=Kind.SPREADSHEET)),
    "10 MB": b"x" * 10_000_000,
}
REASONS = ("JSON is malformed", "schema 9", "dance", "There is no job", "10,000,000 bytes")


@pytest.mark.slow
def test_messages_nobody_can_process_are_dead_lettered_once_and_the_queue_goes_on(
    services, workbook
):
    processor = services.service("batch-processor")
    services.run(services.interface, processor)
    for body in BAD.values():
        put(services, body)
    job_id = services.upload(workbook(3))
    assert services.finished(job_id)["status"] == "done"

    letters = services.until(lambda: len(found := services.dead_letters()) == 5 and found)
    assert {letter["class"] for letter in letters} == {"unprocessable"}
    for reason in REASONS:
        assert len([one for one in letters if reason in one["error"]]) == 1, reason
        assert processor.says(reason) == 1
    assert {one["payload_bytes"] for one in letters} == {len(body) for body in BAD.values()}
    assert max(len(one["payload"]) for one in letters) < 100_000
    assert processor.says("Traceback") == 0
    services.all_is_quiet()
    answer = services.http.post("/dead-letters/replay").raise_for_status()  # no better now
    assert answer.json()["replayed"] == 5
    again = services.until(
        lambda: (
            len(found := services.dead_letters()) == 5
            and all(one["history"] for one in found)
            and found
        )
    )
    for letter in again:
        services.http.delete(f"/dead-letters/{letter['id']}").raise_for_status()
    assert services.dead_letters() == []
    assert processor.process.poll() is None
    services.all_is_quiet()


@pytest.mark.slow
def test_a_message_that_kills_its_workers_is_given_up_and_the_queue_behind_it_goes_on(
    services, workbook
):
    """Its workers are started again by whoever supervises them; here by the test."""
    worker = services.service(
        "batch-processor", [sys.executable, str(WORKER)], AIMQ_TEST_POISON="poison.xlsx"
    )
    services.run(services.interface, worker)
    poison = services.upload(workbook(1), "poison.xlsx")
    others = [services.upload(workbook(2)) for _ in range(4)]
    deaths = 0

    def given_up():
        nonlocal deaths
        if worker.process.poll() is not None:
            assert worker.wait() == 9
            deaths += 1
            worker.start()
        return services.job(poison)["status"] == "failed"

    services.until(given_up)
    assert deaths == 3
    assert [services.finished(job)["status"] for job in others] == ["done"] * 4
    letter = services.dead_letter()
    assert (letter["job_id"], letter["error_type"]) == (poison, "WorkerDied")
    assert services.job(poison)["error"] == letter["error"]
    services.all_is_quiet()
    assert worker.process.poll() is None


@pytest.mark.parametrize(("method", "path"), [("POST", "/replay"), ("DELETE", ""), ("GET", "")])
@pytest.mark.rabbitmq
@pytest.mark.redis
def test_an_unknown_dead_letter_is_not_found(make_services, ml, method, path):
    services = make_services("servers", ml.url)
    services.run(services.interface)
    for unknown in (uuid.uuid4().hex, "no-such-thing", "%00"):
        answer = services.http.request(method, f"/dead-letters/{unknown}{path}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
