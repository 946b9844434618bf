"""What the SQLite adapters say and do when their file cannot be used."""

import queue
import sqlite3
import threading
import time

import pytest

from aimq.broker.sqlite import SqliteBroker
from aimq.errors import BrokerUnavailable, SettingsError, StoreUnavailable
from aimq.jobs.job import Job
from aimq.jobs.sqlite import SqliteStore
from aimq.messages import Kind, Message
from aimq.settings import Settings
from aimq.sqlite import connection as connections
from aimq.sqlite.migrations import MIGRATIONS
from aimq.sqlite.writer import acquire_writer, release_writer

PATIENCE = 20
MESSAGE = Message(job_id="1", kind=Kind.SPREADSHEET)


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path, lease_seconds=1)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.05)


@pytest.fixture
def foreigner(tmp_path):
    """Another program's connection to the file."""
    connection = sqlite3.connect(
        tmp_path / "aimq.db", isolation_level=None, check_same_thread=False
    )
    yield connection
    connection.close()


def pragma(broker, statement):
    """Run a pragma on the one writing connection, where a fault is to be."""
    writer = acquire_writer(broker._database.path)
    writer._connection.get().execute(statement)
    release_writer(writer)


@pytest.mark.parametrize("adapter", [SqliteBroker, SqliteStore])
class TestAtTheStart:
    def test_a_missing_folder_is_refused(self, adapter, tmp_path):
        url = f"sqlite:///{tmp_path}/missing/aimq.db"

        with pytest.raises(SettingsError, match=r"_URL: the folder .*missing does not exist"):
            adapter(Settings(broker_url=url, store_url=url, data_dir=tmp_path))

        assert not (tmp_path / "missing").exists()

    def test_a_data_folder_that_cannot_be_made_is_refused(self, adapter, tmp_path):
        (tmp_path / "file").touch()

        with pytest.raises(SettingsError, match="AIMQ_DATA_DIR"):
            adapter(Settings(data_dir=tmp_path / "file" / "data"))

    def test_a_file_that_is_no_database_is_refused_and_left_alone(self, adapter, settings):
        file = settings.data_dir / "aimq.db"
        file.write_bytes(b"%PDF-1.7 not a database" * 100)

        with pytest.raises(SettingsError, match="is not an SQLite database; move it away"):
            adapter(settings)

        assert file.read_bytes() == b"%PDF-1.7 not a database" * 100

    def test_another_programs_database_is_refused_and_left_alone(
        self, adapter, settings, foreigner
    ):
        foreigner.execute("CREATE TABLE theirs (a)")
        before = (settings.data_dir / "aimq.db").read_bytes()

        with pytest.raises(SettingsError, match="another program's database"):
            adapter(settings)

        assert (settings.data_dir / "aimq.db").read_bytes() == before

    def test_a_file_of_a_newer_version_is_refused(self, adapter, settings, foreigner):
        SqliteBroker(settings).close()
        foreigner.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")

        with pytest.raises(SettingsError, match=r"written by a newer AIMQ.*upgrade"):
            adapter(settings)

    def test_a_folder_in_the_files_place_is_refused(self, adapter, settings):
        (settings.data_dir / "aimq.db").mkdir()

        with pytest.raises(SettingsError, match="cannot be opened"):
            adapter(settings)

    def test_a_locked_file_is_waited_for(self, adapter, settings, foreigner, impatient):
        SqliteBroker(settings).close()
        foreigner.execute("PRAGMA locking_mode = EXCLUSIVE")
        foreigner.execute("BEGIN EXCLUSIVE")

        opened = adapter(settings)
        with pytest.raises((BrokerUnavailable, StoreUnavailable), match="locked by another"):
            opened.check()

        foreigner.close()

        opened.check()
        opened.close()


def test_many_processes_may_make_the_file_at_once(settings):
    brokers = []
    threads = [
        threading.Thread(target=lambda: brokers.append(SqliteBroker(settings))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert len(brokers) == 8
    for broker in brokers:
        broker.publish("q", MESSAGE).result(PATIENCE)
        broker.close()


def test_a_lock_held_too_long_is_an_outage_that_passes(broker, foreigner, impatient):
    foreigner.execute("BEGIN IMMEDIATE")
    with pytest.raises(BrokerUnavailable, match="locked by another process"):
        broker.publish("q", MESSAGE).result(PATIENCE)
    with pytest.raises(BrokerUnavailable, match="locked"):
        broker.check()
    assert broker.counts("q").ready == 0  # reading goes on
    foreigner.execute("ROLLBACK")

    broker.publish("q", MESSAGE).result(PATIENCE)
    broker.check()


def test_a_full_disk_is_an_outage_that_passes(broker):
    broker.check()
    pragma(broker, "PRAGMA max_page_count = 1")
    much = b"x" * 1_000_000

    with pytest.raises(BrokerUnavailable, match="disk is full; free some space"):
        broker.publish_body("q", much, "").result(PATIENCE)

    broker.publish_body("q", much, "").result(PATIENCE)  # opened anew
    assert broker.counts("q").ready == 1


def test_a_file_that_cannot_be_written_is_an_outage_that_passes(broker):
    broker.check()
    pragma(broker, "PRAGMA query_only = ON")

    with pytest.raises(BrokerUnavailable, match="cannot be written; give this user"):
        broker.check()

    broker.check()  # opened anew


def test_an_outcome_that_cannot_be_stored_is_false_and_the_message_comes_back(
    broker, foreigner, impatient
):
    broker.publish("q", MESSAGE).result(PATIENCE)
    subscription = broker.subscribe("q", prefetch=1)
    (delivery,) = subscription.receive(timeout=PATIENCE)
    foreigner.execute("BEGIN IMMEDIATE")

    assert subscription.ack(delivery).result(PATIENCE) is False

    foreigner.execute("ROLLBACK")
    (again,) = subscription.receive(timeout=PATIENCE)
    assert again.redelivered


def test_a_consumer_waits_an_outage_out(broker, foreigner, impatient):
    broker.publish("q", MESSAGE).result(PATIENCE)
    foreigner.execute("BEGIN IMMEDIATE")
    subscription = broker.subscribe("q", prefetch=1)
    assert subscription.receive(timeout=0.1) == []

    foreigner.execute("ROLLBACK")

    assert len(subscription.receive(timeout=PATIENCE)) == 1


def test_a_file_deleted_while_in_use_is_made_anew(broker, store, settings, caplog):
    broker.publish("q", MESSAGE).result(PATIENCE)
    for file in settings.data_dir.glob("aimq.db*"):
        file.unlink()

    broker.publish("q", MESSAGE).result(PATIENCE)

    assert broker.counts("q").ready == 1
    assert store.recent() == []
    later = SqliteBroker(settings)
    assert later.counts("q").ready == 1
    later.close()
    assert "was deleted or replaced while in use" in caplog.text


def test_a_watch_goes_on_with_the_file_that_replaced_the_one_deleted(store, settings):
    told = queue.SimpleQueue()
    store.watch(lambda job: told.put(job.job_id))
    before = store.create([Job(kind=Kind.PREDICTION) for _ in range(5)])
    assert {told.get(timeout=PATIENCE) for _ in before} == {job.job_id for job in before}
    for file in settings.data_dir.glob("aimq.db*"):
        file.unlink()

    (after,) = store.create([Job(kind=Kind.PREDICTION)])

    assert told.get(timeout=PATIENCE) == after.job_id


def test_a_closed_adapter_says_so(settings):
    broker, store = SqliteBroker(settings), SqliteStore(settings)
    broker.close()
    store.close()

    with pytest.raises(BrokerUnavailable, match="was closed"):
        broker.publish("q", MESSAGE).result(PATIENCE)
    with pytest.raises(BrokerUnavailable, match="was closed"):
        broker.counts("q")
    with pytest.raises(StoreUnavailable, match="was closed"):
        store.check()


def test_leases_are_renewed_again_after_an_outage(settings, foreigner, impatient, caplog):
    settings = settings.model_copy(update={"lease_seconds": 0.9})
    broker, other = SqliteBroker(settings), SqliteBroker(settings)
    broker.publish("q", MESSAGE).result(PATIENCE)
    subscription = broker.subscribe("q", prefetch=1)
    (held,) = subscription.receive(timeout=PATIENCE)
    foreigner.execute("BEGIN IMMEDIATE")
    deadline = time.monotonic() + PATIENCE
    while "Leases were not renewed" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    foreigner.execute("ROLLBACK")

    assert other.subscribe("q", prefetch=1).receive(timeout=1.2) == []

    assert subscription.ack(held).result(PATIENCE) is True
    broker.close()
    other.close()
