"""Group commit: what is together in a transaction, what fails apart."""

import sqlite3
import threading

import pytest

from aimq.errors import BrokerUnavailable, InternalError, StoreUnavailable
from aimq.sqlite.database import Database
from aimq.sqlite.migrations import APPLICATION_ID, MIGRATIONS, version_of

PATIENCE = 20


def connect(folder, unavailable=BrokerUnavailable):
    return Database(f"sqlite:///{folder}/file.db", "AIMQ_BROKER_URL", folder, unavailable)


@pytest.fixture
def database(tmp_path):
    database = connect(tmp_path)
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
    later = connect(tmp_path, StoreUnavailable)
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


def test_a_callback_may_submit_a_write(database, gate):
    submitted, done = [], threading.Event()
    future = database.submit(draw)
    future.add_done_callback(lambda _: (submitted.append(database.submit(draw)), done.set()))
    gate.set()

    assert done.wait(PATIENCE)
    assert submitted[0].result(PATIENCE) == 2


def test_a_callback_that_waits_for_a_write_is_refused(database, gate):
    refused = []

    def wait(_):
        with pytest.raises(RuntimeError, match="must not wait"):
            database.write(draw)
        refused.append(True)

    future = database.submit(draw)
    future.add_done_callback(wait)
    gate.set()

    assert database.write(draw) == 2
    assert refused == [True]


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
    database = connect(tmp_path)
    futures = [database.submit(draw) for _ in range(100)]

    database.close()
    database.close()

    assert [future.result(0) for future in futures] == list(range(1, 101))


def test_one_adapters_closing_leaves_the_others_on_the_file_alone(database, tmp_path):
    other = connect(tmp_path, StoreUnavailable)
    other.write(draw)
    other.close()

    assert database.write(draw) == 2


def test_a_closed_database_takes_no_write(database):
    database.close()

    with pytest.raises(BrokerUnavailable, match="was closed"):
        database.submit(draw).result(PATIENCE)
    assert database.submit(draw, on_outage=-1).result(PATIENCE) == -1


def test_a_file_of_the_first_layout_is_brought_to_the_newest_and_keeps_its_rows(tmp_path):
    with sqlite3.connect(tmp_path / "file.db") as old:
        old.executescript(MIGRATIONS[0])
        old.execute(
            "INSERT INTO message (queue, position, message_id, body) VALUES ('q', 1, 'm', '')"
        )
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
    old.close()

    database = connect(tmp_path)

    with database.reading() as connection:
        assert version_of(connection, "") == len(MIGRATIONS)
        assert [row["message_id"] for row in connection.execute("SELECT * FROM message")] == ["m"]
        assert connection.execute("SELECT count(*) FROM tombstone").fetchone()[0] == 0
    database.close()
