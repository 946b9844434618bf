"""What is left of a deleted job in an SQLite file, and for how long."""

import pytest

from aimq.errors import StoreUnavailable
from aimq.jobs.sqlite import tombstones
from aimq.sqlite.database import Database

HOUR = 3_600_000_000


@pytest.fixture
def database(tmp_path):
    database = Database(
        f"sqlite:///{tmp_path / 'jobs.db'}", "AIMQ_STORE_URL", tmp_path, StoreUnavailable
    )
    yield database
    database.close()


def count(database):
    with database.reading() as connection:
        return connection.execute("SELECT count(*) FROM tombstone").fetchone()[0]


def test_an_id_is_remembered_until_its_time_is_over(database):
    database.write(lambda tx: tombstones.leave(tx, "a", expires_at=HOUR, now=0))
    assert database.write(
        lambda tx: [tombstones.has(tx, "a", now) for now in (0, HOUR - 1, HOUR)]
    ) == [True, True, False]


def test_ids_whose_time_is_over_take_no_room(database):
    for hour in range(100):
        database.write(
            lambda tx, at=hour * HOUR: tombstones.leave(tx, f"{at}", expires_at=at + HOUR, now=at)
        )
    assert count(database) == 1


def test_an_id_whose_time_is_over_already_is_not_kept(database):
    database.write(lambda tx: tombstones.leave(tx, "a", expires_at=5, now=5))
    assert count(database) == 0
