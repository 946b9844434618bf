import asyncio

import pytest

from aimq import messages
from aimq.broker.port import Failure
from aimq.broker.topology import UPLOADS
from aimq.errors import BrokerUnavailable
from tests.integration.interface.conftest import settle, upload

FAILURE = Failure(error="ML service away", error_type="MlUnavailable", traceback="Traceback …")


def bury(broker, failure=FAILURE):
    """Dead-letter everything that waits."""
    subscription = broker.subscribe(UPLOADS, 10)
    try:
        for delivery in subscription.receive(10, timeout=5.0):
            assert subscription.dead_letter(delivery, failure).result(5.0)
    finally:
        subscription.close()


def taken(broker):
    subscription = broker.subscribe(UPLOADS, 10)
    try:
        found = subscription.receive(10, timeout=5.0)
        return [(messages.decode(one.body).job_id, one.attempts) for one in found]
    finally:
        subscription.close()


async def dead_job(door, broker, store):
    job_id = (await upload(door)).json()["job_id"]
    settle(store, job_id, "failed", error=FAILURE.error)
    await asyncio.to_thread(bury, broker)
    return job_id


async def test_a_dead_letter_tells_what_failed_and_why(door, broker, store):
    job_id = await dead_job(door, broker, store)
    (letter,) = (await door.get("/dead-letters")).json()

    assert letter["job_id"] == job_id
    assert letter["queue"] == UPLOADS
    assert letter["class"] == "failed"
    assert (letter["error"], letter["error_type"]) == (FAILURE.error, FAILURE.error_type)
    assert letter["last_failed_at"]

    full = (await door.get(f"/dead-letters/{letter['id']}")).json()
    assert full["traceback"] == FAILURE.traceback
    assert messages.decode(full["payload"].encode()).job_id == job_id
    assert full["history"] == []


async def test_the_list_can_be_limited_and_narrowed_to_a_queue(door, broker, store):
    await dead_job(door, broker, store)
    await dead_job(door, broker, store)

    assert len((await door.get("/dead-letters?limit=1")).json()) == 1
    assert len((await door.get("/dead-letters?queue=uploads")).json()) == 2
    assert (await door.get("/dead-letters?queue=aimq.tasks")).json() == []
    assert (await door.get("/dead-letters?queue=other")).status_code == 422


async def test_a_replay_queues_the_job_and_its_message_with_fresh_attempts(door, broker, store):
    job_id = await dead_job(door, broker, store)
    (letter,) = (await door.get("/dead-letters")).json()

    answer = await door.post(f"/dead-letters/{letter['id']}/replay")

    assert answer.json() == {"replayed": 1, "ids": [letter["id"]]}
    job = store.get(job_id)
    assert (job.status, job.attempts, job.error) == ("queued", 0, None)
    assert await asyncio.to_thread(taken, broker) == [(job_id, 0)]
    assert (await door.get("/dead-letters")).json() == []


async def test_the_job_is_queued_before_its_message(door, broker, store, monkeypatch):
    job_id = await dead_job(door, broker, store)
    (letter,) = (await door.get("/dead-letters")).json()
    seen = []
    replay = broker.replay

    def watched(queue, id_):
        seen.append(store.get(job_id).status)
        return replay(queue, id_)

    monkeypatch.setattr(broker, "replay", watched)
    await door.post(f"/dead-letters/{letter['id']}/replay")

    assert seen == ["queued"]


async def test_all_are_replayed_at_once(door, broker, store):
    jobs = {await dead_job(door, broker, store) for _ in range(3)}

    assert (await door.post("/dead-letters/replay")).json()["replayed"] == 3
    assert {job_id for job_id, _ in await asyncio.to_thread(taken, broker)} == jobs


async def test_a_letter_deleted_during_its_replay_leaves_no_job_that_waits_for_ever(
    door, broker, store, monkeypatch
):
    job_id = await dead_job(door, broker, store)
    (letter,) = (await door.get("/dead-letters")).json()
    replay = broker.replay

    def too_late(queue, id_):
        broker.discard(queue, id_)
        return replay(queue, id_)

    monkeypatch.setattr(broker, "replay", too_late)
    assert (await door.post(f"/dead-letters/{letter['id']}/replay")).status_code == 404

    assert store.get(job_id).status == "queued"
    assert await asyncio.to_thread(taken, broker) == [(job_id, 0)]


async def test_a_replay_that_the_broker_cannot_take_leaves_the_job_failed(
    door, broker, store, monkeypatch
):
    job_id = await dead_job(door, broker, store)
    (letter,) = (await door.get("/dead-letters")).json()

    def alarm(*_):
        raise BrokerUnavailable("A memory alarm blocks publishing.")

    monkeypatch.setattr(broker, "replay", alarm)
    assert (await door.post(f"/dead-letters/{letter['id']}/replay")).status_code == 503
    assert (store.get(job_id).status, store.get(job_id).error) == ("failed", FAILURE.error)

    monkeypatch.undo()
    await door.post(f"/dead-letters/{letter['id']}/replay")
    assert store.get(job_id).status == "queued"
    assert await asyncio.to_thread(taken, broker) == [(job_id, 0)]


async def test_a_replay_that_fails_leaves_a_job_alone_that_was_not_failed(
    door, broker, store, monkeypatch
):
    job_id = await dead_job(door, broker, store)
    store.requeue(job_id)
    (letter,) = (await door.get("/dead-letters")).json()

    def alarm(*_):
        raise BrokerUnavailable("A memory alarm blocks publishing.")

    monkeypatch.setattr(broker, "replay", alarm)
    assert (await door.post(f"/dead-letters/{letter['id']}/replay")).status_code == 503
    assert store.get(job_id).status == "queued"


async def test_a_deleted_dead_letter_is_gone_and_its_job_stays_failed(door, broker, store):
    job_id = await dead_job(door, broker, store)
    (letter,) = (await door.get("/dead-letters")).json()

    assert (await door.delete(f"/dead-letters/{letter['id']}")).status_code == 204
    assert (await door.get("/dead-letters")).json() == []
    assert store.get(job_id).status == "failed"


async def test_a_payload_that_is_no_text_is_shown_all_the_same(door, broker, store, monkeypatch):
    await dead_job(door, broker, store)
    (letter,) = broker.dead_letters(UPLOADS)
    strange = type(letter)(
        **{
            name: getattr(letter, name)
            for name in letter.__slots__
            if name not in {"body", "failure"}
        },
        body=b"\xff\x00",
        failure=Failure(error="x", error_type="MessageRejected", unprocessable=True),
    )
    monkeypatch.setattr(
        broker, "dead_letters", lambda queue, _: [strange] if queue == UPLOADS else []
    )

    full = (await door.get(f"/dead-letters/{letter.id}")).json()

    assert (full["payload"], full["payload_encoding"]) == ("/wA=", "base64")
    assert full["class"] == "unprocessable"


@pytest.mark.parametrize("id_", ["1", "x", "999999", "%00", "é"])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/replay"), ("DELETE", "")])
async def test_an_unknown_dead_letter_is_not_found(door, id_, method, path):
    assert (await door.request(method, f"/dead-letters/{id_}{path}")).status_code == 404


async def test_a_broker_that_is_away_is_said_so(door, broker, monkeypatch):
    def away(*_):
        raise BrokerUnavailable("The queue is away.")

    monkeypatch.setattr(broker, "dead_letters", away)
    answer = await door.get("/dead-letters")

    assert answer.status_code == 503
    assert answer.headers["retry-after"]
