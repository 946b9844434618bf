"""The queue's steps, with the clock in the test's hand."""

import pytest

from aimq.broker.port import Failure
from aimq.broker.sqlite import dead_letters, queue_table
from aimq.errors import BrokerUnavailable
from aimq.sqlite.database import Database

LEASE = 100


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path}/queue.db"
    database = Database(url, "AIMQ_BROKER_URL", tmp_path, BrokerUnavailable)
    yield database
    database.close()


@pytest.fixture
def put(database):
    def put(*names):
        for name in names:
            database.write(lambda tx, name=name: queue_table.insert(tx, "q", b"", name))

    return put


@pytest.fixture
def take(database):
    def take(now, limit=10):
        return database.write(lambda tx: queue_table.take(tx, "q", limit, now, now + LEASE))

    return take


def names(deliveries):
    return [delivery.message_id for delivery in deliveries]


def counts(database, now):
    with database.reading() as connection:
        found = queue_table.counts(connection, "q", now)
    return found.ready, found.held, found.delayed, found.dead


def test_a_lease_that_ran_out_frees_its_message_before_later_ones(put, take):
    put("first", "second")
    assert names(take(now=0, limit=1)) == ["first"]
    put("third")

    again = take(now=LEASE)

    assert names(again) == ["first", "second", "third"]
    assert [delivery.redelivered for delivery in again] == [True, False, False]


def test_a_lease_that_was_extended_holds(database, put, take):
    put("only")
    (held,) = take(now=0)

    assert database.write(lambda tx: queue_table.extend(tx, [held.tag], 3 * LEASE)) == []

    assert take(now=2 * LEASE) == []
    assert names(take(now=3 * LEASE)) == ["only"]


def test_a_delivery_is_void_once_the_message_is_delivered_anew(database, put, take):
    put("only")
    (stale,) = take(now=0)
    (fresh,) = take(now=LEASE)
    failure = Failure(error="e", error_type="E")

    voided = database.write(lambda tx: queue_table.extend(tx, [stale.tag, fresh.tag], 9))
    assert voided == [stale.tag]
    assert not database.write(lambda tx: queue_table.ack(tx, stale.tag))
    assert not database.write(lambda tx: queue_table.retry(tx, stale.tag, 9, failure, 1))
    assert not database.write(lambda tx: queue_table.dead_letter(tx, stale.tag, failure, 1))
    assert not database.write(lambda tx: queue_table.requeue(tx, stale.tag))
    assert database.write(lambda tx: queue_table.ack(tx, fresh.tag))


def test_delayed_messages_come_by_when_they_are_due_after_those_already_ready(database, put, take):
    put("a", "b", "c")
    for delivery, due_at in zip(take(now=0), (30, 20, 500), strict=True):
        database.write(lambda tx, d=delivery, at=due_at: queue_table.defer(tx, d.tag, at))
    put("d")

    assert names(take(now=19)) == ["d"]
    assert names(take(now=40)) == ["b", "a"]


def test_a_message_put_back_keeps_its_place(database, put, take):
    put("a", "b", "c")
    first, second = take(now=0, limit=2)
    for delivery in (second, first):
        database.write(lambda tx, d=delivery: queue_table.requeue(tx, d.tag))

    again = take(now=1)

    assert names(again) == ["a", "b", "c"]
    assert not any(delivery.redelivered for delivery in again)


def test_what_is_due_counts_as_ready(database, put, take):
    put("held", "delayed", "ready")
    _held, delayed = take(now=0, limit=2)
    database.write(lambda tx: queue_table.defer(tx, delayed.tag, 50))

    assert counts(database, now=0) == (1, 1, 1, 0)
    assert counts(database, now=50) == (2, 1, 0, 0)
    assert counts(database, now=LEASE) == (3, 0, 0, 0)


def test_the_queue_says_when_something_will_be_ready(database, put, take):
    def next_ready():
        with database.reading() as connection:
            return queue_table.next_ready(connection, "q")

    assert next_ready() is None
    put("only")
    assert next_ready() == 0
    take(now=7)
    assert next_ready() == 7 + LEASE


def test_a_message_whose_every_consumer_dies_is_given_up_at_last(database, put, take, monkeypatch):
    monkeypatch.setattr(queue_table, "DELIVERY_SAFETY_NET", 3)
    put("poison")
    for death in range(3):
        assert names(take(now=death * LEASE)) == ["poison"]

    assert take(now=3 * LEASE) == []

    assert counts(database, now=3 * LEASE) == (0, 0, 0, 1)


def test_a_retry_forgives_earlier_deaths(database, put, take, monkeypatch):
    monkeypatch.setattr(queue_table, "DELIVERY_SAFETY_NET", 2)
    put("only")
    take(now=0)
    (delivery,) = take(now=LEASE)
    database.write(lambda tx: queue_table.defer(tx, delivery.tag, LEASE))

    (delivery,) = take(now=LEASE)

    assert not delivery.redelivered


@pytest.mark.parametrize(
    "step",
    [
        lambda tx: queue_table.take(tx, "q", 10, now=500, lease_until=600),
        lambda tx: queue_table.next_ready(tx, "q"),
        lambda tx: queue_table.counts(tx, "q", now=500),
        lambda tx: dead_letters.oldest(tx, "q", limit=10),
        lambda tx: queue_table.ack(tx, (1, 1)),
    ],
)
def test_no_step_reads_the_whole_table(database, put, take, step):
    put("held", "ready")
    take(now=0, limit=1)

    def plans(tx):
        connection, statements = tx.execute.__self__, []
        connection.set_trace_callback(statements.append)
        step(tx)
        connection.set_trace_callback(None)
        return [row["detail"] for s in statements for row in tx.execute(f"EXPLAIN QUERY PLAN {s}")]

    details = database.write(plans)

    assert any("message" in detail for detail in details)
    assert [detail for detail in details if detail.startswith("SCAN message")] == []
