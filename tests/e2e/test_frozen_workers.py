"""A worker that stands still in the middle of its write, and goes on after its claim is void."""

import io
import os
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from aimq.broker.topology import UPLOADS
from aimq.messages import Kind, Message
from tests.system import free_ports

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(180)]

WORKER = Path(__file__).parent / "frozen_worker.py"
TWO_DAYS = 2 * 86_400


@pytest.fixture
def frozen(services, tmp_path):
    """The interface, and the worker of a job that it has claimed; it is frozen by then."""
    written = tmp_path / "written"
    service = services.service(
        "batch-processor frozen", [sys.executable, str(WORKER)], AIMQ_TEST_WRITTEN=str(written)
    )
    service.written = written
    services.run(services.interface, service)
    return service


def await_freeze(services, service):
    flags = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
    services.until(lambda: os.waitid(os.P_PID, service.pid, flags))


def results(services):
    return sorted((services.folder / "data" / "files" / "results").rglob("*.xlsx"))


def test_it_does_not_replace_the_result_of_the_worker_that_finished(services, frozen, ml, workbook):
    job_id = services.upload(workbook(5))
    await_freeze(services, frozen)
    ml.refuse = lambda table: ["of the second worker"] * len(table)
    [port] = free_ports(1)
    other = services.service("batch-processor", AIMQ_METRICS_PORT=str(port))
    services.run(other)
    # RabbitMQ keeps the message of the frozen one until its heartbeats are missed
    services.broker.publish(UPLOADS, Message(job_id=job_id, kind=Kind.SPREADSHEET)).result(30)
    job = services.finished(job_id)
    assert (job["status"], job["rows_failed"]) == ("done", 5)

    frozen.thaw()
    services.until(frozen.written.exists)
    services.all_is_quiet()

    served = services.http.get(f"/jobs/{job_id}/result").raise_for_status().content
    errors = pd.read_excel(io.BytesIO(served), engine="openpyxl")["error"]
    assert set(errors) == {"of the second worker"}
    assert services.job(job_id) == job


def test_what_it_writes_after_a_deletion_is_served_to_nobody_and_deleted(
    services, frozen, workbook
):
    job_id = services.upload(workbook(5))
    await_freeze(services, frozen)
    assert services.http.delete(f"/jobs/{job_id}").status_code == 204

    frozen.thaw()
    services.until(frozen.written.exists)
    services.all_is_quiet()

    assert services.http.get(f"/jobs/{job_id}/result").status_code == 404
    [late] = results(services)
    os.utime(late, (time.time() - TWO_DAYS,) * 2)
    services.interface.stop()
    services.interface.start()  # deletes orphans when it starts
    services.until(lambda: not results(services))
