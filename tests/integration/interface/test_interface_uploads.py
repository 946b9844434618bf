import asyncio
from concurrent.futures import Future

import pytest

from aimq import messages
from aimq.broker.topology import UPLOADS
from aimq.errors import BrokerUnavailable, FilesUnavailable, StoreUnavailable
from aimq.files.keys import upload_key
from interface.sweep import sweep
from tests.integration.interface.conftest import serving, upload, workbook


def received(broker):
    subscription = broker.subscribe(UPLOADS, 10)
    try:
        deliveries = subscription.receive(10, timeout=1.0)
        return [messages.decode(delivery.body) for delivery in deliveries]
    finally:
        subscription.close()


async def test_an_upload_is_stored_recorded_and_queued(door, broker, store, files):
    content = workbook()
    answer = await upload(door, content, name="../My cars\u202e.xlsx")

    assert answer.status_code == 202
    accepted = answer.json()
    job_id = accepted["job_id"]
    assert accepted == {
        "job_id": job_id,
        "status": "queued",
        "model": "used_cars",
        "status_url": f"/jobs/{job_id}",
        "result_url": f"/jobs/{job_id}/result",
        "events_url": f"/jobs/{job_id}/events",
    }
    with files.open(upload_key(job_id)) as stored:
        assert stored.read() == content
    job = store.get(job_id)
    assert (job.filename, job.status) == ("My cars.xlsx", "queued")
    (message,) = await asyncio.to_thread(received, broker)
    assert message.job_id == job_id
    assert message.traceparent == job.traceparent
    assert store.get(job_id).published


async def test_a_trace_is_carried_on(door, store):
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    answer = await door.post(
        "/upload", files={"file": ("cars.xlsx", workbook())}, headers={"traceparent": trace}
    )

    assert store.get(answer.json()["job_id"]).traceparent[3:35] == "a" * 32


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 415, "empty"),
        (b"%PDF-1.7", 415, "PDF"),
        (b"model_group,model\n", 415, "CSV"),
        (workbook()[:-100], 415, "damaged"),
        (workbook(header=["model_group", "model", "Kilometres"]), 422, "kilometers, doors"),
        (workbook(("",)), 422, "only a header"),
        (b"PK\x03\x04" + b"x" * (1024 * 1024), 413, "1 MiB"),
        (b"PK\x03\x04" + b"x" * (2 * 1024 * 1024), 413, "1 MiB"),
    ],
)
async def test_what_cannot_be_scored_is_refused_and_nothing_kept(
    door, store, files, content, status, said
):
    answer = await upload(door, content)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]
    assert store.recent() == []
    assert list(files.keys("uploads")) == []


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"content": b"PK", "headers": {"content-type": "application/zip"}},
        {"content": b"PK", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"PK", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"files": {"other": ("cars.xlsx", b"PK")}},
        {"files": [("file", ("a.xlsx", b"PK")), ("file", ("b.xlsx", b"PK"))]},
        {"files": {"file": (None, "text")}},
        {"data": {"file": "text"}},
    ],
)
async def test_no_file_is_said_so(door, request_):
    answer = await door.post("/upload", **request_)

    assert answer.status_code == 400
    assert "field named `file`" in answer.json()["detail"]


async def test_an_upload_that_says_it_is_too_large_is_refused_unread(door):
    async def body():
        yield b""
        raise AssertionError("the body was read")

    answer = await door.post(
        "/upload",
        content=body(),
        headers={"content-length": "99999999", "content-type": "multipart/form-data; boundary=x"},
    )

    assert answer.status_code == 413


async def test_an_upload_of_unknown_size_is_cut_off_at_the_bound(door):
    sent = 0

    async def body():
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        while sent < 50 * 1024 * 1024:
            sent += 65536
            yield b"x" * 65536

    answer = await door.post(
        "/upload", content=body(), headers={"content-type": "multipart/form-data; boundary=x"}
    )

    assert answer.status_code == 413
    assert sent < 2 * 1024 * 1024


async def test_columns_are_left_to_the_batch_processor_until_the_schema_is_known(
    settings, broker, store, files, ml
):
    ml.stop()
    async with serving(settings, broker, store, files) as client:
        answer = await upload(client, workbook(header=["anything", "else", "goes", "here"]))
        assert answer.status_code == 202


async def test_an_upload_is_accepted_while_the_broker_is_down_and_published_later(
    door, broker, store, monkeypatch
):
    def unavailable(*_):
        future = Future()
        future.set_exception(BrokerUnavailable("no broker"))
        return future

    with monkeypatch.context() as outage:
        outage.setattr(broker, "publish", unavailable)
        answer = await upload(door)
    assert answer.status_code == 202
    job_id = answer.json()["job_id"]
    assert not store.get(job_id).published

    monkeypatch.setattr("interface.sweep._SETTLED_SECONDS", 0.0)
    await sweep(door.context)
    assert store.get(job_id).published
    assert [message.job_id for message in await asyncio.to_thread(received, broker)] == [job_id]


async def test_a_broker_that_never_confirms_does_not_hold_the_client(door, broker, monkeypatch):
    silent = Future()
    monkeypatch.setattr(broker, "publish", lambda *_: silent)
    monkeypatch.setattr("interface.job_publisher.CONFIRM_SECONDS", 0.01)
    monkeypatch.setattr(type(door.context.publisher).publish, "__defaults__", (0.01,))

    answer = await upload(door)

    assert answer.status_code == 202
    silent.set_exception(BrokerUnavailable("late"))  # and nobody complains of it


async def test_files_that_cannot_take_it_are_unavailable_for_now(door, files, store, monkeypatch):
    def full(*_):
        raise FilesUnavailable("The disk is full.")

    monkeypatch.setattr(files, "put", full)
    answer = await upload(door)

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert store.recent() == []


async def test_a_store_that_cannot_take_it_leaves_no_file(door, files, store, monkeypatch):
    def away(*_):
        raise StoreUnavailable("The store is away.")

    monkeypatch.setattr(store, "create", away)
    answer = await upload(door)

    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert list(files.keys("uploads")) == []


async def test_a_queue_past_its_bound_says_how_deep_it_is(settings, broker, store, files):
    for number in range(2):
        message = messages.Message(job_id=str(number), kind=messages.Kind.SPREADSHEET)
        broker.publish(UPLOADS, message).result(10)
    bounded = settings.model_copy(update={"queue_bound": 2})
    async with serving(bounded, broker, store, files) as client:
        await client.context.queues.refresh()
        answer = await upload(client)

    assert answer.status_code == 503
    assert "2 messages wait" in answer.json()["detail"]
    assert answer.headers["retry-after"]
    assert store.recent() == []


async def test_many_uploads_at_once_are_each_a_job(door, store):
    answers = await asyncio.gather(*(upload(door) for _ in range(30)))

    assert {answer.status_code for answer in answers} == {202}
    assert len(store.recent(100)) == len({answer.json()["job_id"] for answer in answers}) == 30


@pytest.mark.parametrize("ending", ["disconnect", "silence"])
async def test_an_upload_that_stops_half_way_is_no_error_of_ours(door, caplog, ending, monkeypatch):
    monkeypatch.setattr("interface.upload_form._STALLED_SECONDS", 0.01)
    begun = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nPK'
    messages = [{"type": "http.request", "body": begun, "more_body": True}]
    sent = []

    async def receive():
        if messages:
            return messages.pop()
        if ending == "silence":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/upload", "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"multipart/form-data; boundary=x")],
    }  # fmt: skip
    await door.app(scope, receive, send)

    assert sent[0]["status"] == 400
    assert "failed" not in caplog.text
