"""Group commit: what is together in a transaction, what fails apart."""

import sqlite3
import threading

import pytest

from aimq.errors import BrokerUnavailable, InternalError, StoreUnavailable
from aimq.sqlite.database import Database
from aimq.sqlite.writer import Write

PATIENCE = 20


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "file.db", BrokerUnavailable)
    yield database
    database.close()


@pytest.fixture
def gate(database):
    """Keeps the writing thread in a transaction until it is opened: what is submitted meanwhile
    makes one group.
    """
    entered, opened = threading.Event(), threading.Event()

    def hold(tx):
        entered.set()
        return opened.wait(PATIENCE)

    database.submit(hold)
    assert entered.wait(PATIENCE)
    yield opened
    opened.set()


def draw(tx):
    return tx.next("position")


def test_what_was_submitted_in_order_is_committed_in_order(database):
    futures = [database.submit(draw) for _ in range(3000)]

    assert [future.result(PATIENCE) for future in futures] == list(range(1, 3001))


def test_numbers_go_on_from_where_another_process_left_off(database, tmp_path):
    database.write(draw)
    later = Database(tmp_path / "file.db", StoreUnavailable)
    with sqlite3.connect(tmp_path / "file.db") as other:
        other.execute("UPDATE counter SET value = 41 WHERE name = 'position'")
    other.close()

    assert later.write(draw) == 42
    later.close()


def test_a_write_that_fails_does_not_spoil_those_beside_it(database, gate):
    before, wrong, after = (
        database.submit(draw),
        database.submit(lambda tx: tx.execute("INSERT INTO counter VALUES ('position', 1)")),
        database.submit(draw),
    )
    gate.set()

    assert (before.result(PATIENCE), after.result(PATIENCE)) == (1, 2)
    with pytest.raises(InternalError, match="UNIQUE"):
        wrong.result(PATIENCE)


def test_what_a_write_raises_reaches_who_waits_for_it(database):
    with pytest.raises(ZeroDivisionError):
        database.write(lambda tx: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        database.submit(lambda tx: 1 // 0).result(PATIENCE)


def test_a_write_cancelled_before_its_turn_is_not_made(database, gate):
    kept, cancelled = database.submit(draw), database.submit(draw)
    assert cancelled.cancel()
    gate.set()

    assert kept.result(PATIENCE) == 1
    assert database.write(draw) == 2


def test_a_callback_may_write(database):
    done = threading.Event()
    future = database.submit(draw)
    future.add_done_callback(lambda _: (database.write(draw), done.set()))

    assert done.wait(PATIENCE)
    assert database.write(draw) == 3


def test_writers_of_many_threads_all_get_their_turn(database):
    drawn = []
    threads = [
        threading.Thread(target=lambda: drawn.extend(database.write(draw) for _ in range(50)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert sorted(drawn) == list(range(1, 401))


def test_closing_commits_what_was_submitted(tmp_path):
    database = Database(tmp_path / "file.db", BrokerUnavailable)
    futures = [database.submit(draw) for _ in range(100)]

    database.close()
    database.close()

    assert [future.result(0) for future in futures] == list(range(1, 101))


def test_one_adapters_closing_leaves_the_others_on_the_file_alone(database, tmp_path):
    other = Database(tmp_path / "file.db", StoreUnavailable)
    other.write(draw)
    other.close()

    assert database.write(draw) == 2


def test_an_interrupted_thread_leaves_nobody_waiting(database):
    def interrupt(tx):
        raise KeyboardInterrupt

    beside = Write(draw, durable=True, recover=database._raise)
    database._writer._waiting.append(beside)  # not yet seen by the writing thread

    with pytest.raises(KeyboardInterrupt):
        database.write(interrupt)

    with pytest.raises(InternalError, match="interrupted"):
        beside.future.result(0)
    assert database.write(draw) == 1


def test_a_write_submitted_while_closing_is_not_forgotten(tmp_path):
    database = Database(tmp_path / "file.db", BrokerUnavailable)
    database.close()
    late = Write(draw, durable=True, recover=database._raise)

    database._writer.submit(late)

    assert late.future.result(PATIENCE) == 1
