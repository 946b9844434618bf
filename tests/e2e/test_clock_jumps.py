"""A worker whose time of day jumps by an hour, in the midst of its own and of another's work."""

import sys
import threading
from pathlib import Path

import pytest

from tests.ml_stand_in import Fault
from tests.system import free_ports

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(180)]

WORKER = Path(__file__).parent / "jumping_worker.py"
JUMPS = pytest.mark.parametrize("jump", ["3600", "-3600"], ids=["forward", "back"])


@pytest.fixture
def offset(tmp_path):
    """The file that says by how much the jumping worker's time of day is off."""
    offset = tmp_path / "offset"
    offset.write_text("0")
    return offset


@pytest.fixture
def jumping(services, offset):
    """A batch processor whose time of day may jump. It does one job at a time, like the other."""
    services.configure(AIMQ_CONCURRENCY="1")
    return services.service(
        "batch-processor jumping", [sys.executable, str(WORKER)], AIMQ_TEST_OFFSET=str(offset)
    )


@pytest.fixture
def steady(services, jumping):
    """A batch processor with the right time."""
    [port] = free_ports(1)
    return services.service("batch-processor", AIMQ_METRICS_PORT=str(port))


@pytest.fixture
def hold(ml):
    """Return a function that has the next prediction wait for the event it returns.

    It takes a function that starts one.
    """
    go_on = threading.Event()

    def hold(start):
        started = threading.Event()
        ml.faults.append(Fault(before=lambda: (started.set(), go_on.wait(60))))
        found = start()
        assert started.wait(60)
        return found, go_on

    yield hold
    go_on.set()


@JUMPS
@pytest.mark.parametrize("owner", ["jumping", "steady"])
def test_a_claim_is_not_stolen(services, hold, workbook, offset, jumping, steady, jump, owner):
    first, second = (jumping, steady) if owner == "jumping" else (steady, jumping)
    services.run(services.interface, first)
    job_id, go_on = hold(lambda: services.upload(workbook(3)))

    offset.write_text(jump)
    services.run(second)
    others = [services.upload(workbook(1)) for _ in range(4)]
    services.until(lambda: any(services.job(other)["status"] == "done" for other in others))
    go_on.set()

    for each in (job_id, *others):
        job = services.finished(each)
        assert (job["status"], job["attempts"]) == ("done", 1)
    services.all_is_quiet()


@JUMPS
def test_a_dead_workers_claim_is_not_kept(services, hold, workbook, offset, jumping, steady, jump):
    services.run(services.interface, jumping)
    offset.write_text(jump)
    job_id, go_on = hold(lambda: services.upload(workbook(3)))

    jumping.kill()
    go_on.set()
    services.run(steady)

    job = services.finished(job_id)
    assert (job["status"], job["attempts"]) == ("done", 2)
    services.all_is_quiet()
