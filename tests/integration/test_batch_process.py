"""The batch processor as a process of its own: killed, asked to stop, and started too early."""

import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import closing, contextmanager
from dataclasses import dataclass

import httpx
import openpyxl
import pandas as pd
import pytest

from aimq.broker.connect import connect_broker
from aimq.broker.topology import UPLOADS
from aimq.files.connect import connect_files
from aimq.files.keys import result_key, upload_key
from aimq.jobs.connect import connect_store
from aimq.jobs.job import Job, Status
from aimq.messages import Kind, Message
from aimq.schema import load_schema
from aimq.settings import Settings, load_settings
from aimq.workbook.reader import WorkbookReader
from aimq.workbook.sheet import Sheet
from aimq.workbook.writing import write_workbook
from tests.ml_stand_in import SCHEMA_FILE, Fault, ml_stand_in, prices
from tests.system import ROOT, constants, free_ports

PATIENCE = 60.0
SCHEMA = load_schema(SCHEMA_FILE)


def rows(count):
    """Return valid rows, each with a price of its own."""
    first = {f.name: f.by_group.get("A", f.categories)[0] for f in SCHEMA.features if not f.numeric}
    frame = pd.DataFrame({"model_group": ["A"] * count})
    for feature in SCHEMA.features:
        frame[feature.name] = first.get(feature.name, float(max(feature.minimum, 2)))
    frame["kilometers"] = [float(1 + n) for n in range(count)]
    return frame


@dataclass
class Site:
    """A data folder, and the processors that work on it."""

    settings: Settings
    environ: dict
    broker: object
    store: object
    files: object
    log: object

    def upload(self, frame, tmp_path):
        source = tmp_path / "upload.xlsx"
        sheet = Sheet("S", list(frame.columns), frame.set_axis(range(frame.shape[1]), axis=1))
        write_workbook(sheet, source)
        return self.upload_file(source)

    def upload_file(self, source):
        [job] = self.store.create([Job(kind=Kind.SPREADSHEET, filename="cars.xlsx")])
        with source.open("rb") as stream:
            self.files.put(upload_key(job.job_id), stream)
        self.broker.publish(UPLOADS, Message(job_id=job.job_id, kind=Kind.SPREADSHEET)).result(
            PATIENCE
        )
        return job.job_id

    @contextmanager
    def processor(self, **more):
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "aimq", "batch-processor"],
                env=self.environ | more,
                cwd=ROOT,
                stderr=log,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def until(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def finished(self, job_id):
        self.until(lambda: self.store.get(job_id).final)
        return self.store.get(job_id)

    def result(self, job_id):
        with (
            self.files.local_copy(result_key(self.store.get(job_id))) as path,
            closing(WorkbookReader(256)) as reader,
        ):
            return reader.read(path, 10**6)


@pytest.fixture
def ml():
    with ml_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def site(ml, tmp_path, monkeypatch):
    [port] = free_ports(1)
    published = tmp_path / "models" / "used_cars" / "20260101T000000Z" / "manifest.json"
    published.parent.mkdir(parents=True)
    published.touch()
    given = {
        "AIMQ_MODELS_DIR": str(tmp_path / "models"),
        "AIMQ_DATA_DIR": str(tmp_path / "data"),
        "AIMQ_ML_URL": ml.url,
        "AIMQ_METRICS_PORT": str(port),
        "AIMQ_CONCURRENCY": "2",
        "AIMQ_LEASE_SECONDS": "1",
        "AIMQ_RETRY_BASE_SECONDS": "0.05",
        "AIMQ_RETRY_MAX_SECONDS": "0.5",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for name, value in constants(batch_rows=1000).items():
        monkeypatch.setenv(name, value)
    settings = load_settings(batch_rows=1000)
    site = Site(
        settings, dict(os.environ), connect_broker(settings), connect_store(settings),
        connect_files(settings), tmp_path / "log",
    )  # fmt: skip
    yield site
    site.broker.close()
    site.store.close()


def test_killed_in_the_middle_of_a_large_file_and_restarted_it_scores_every_row_once(
    site, ml, tmp_path
):
    frame = rows(20_000)
    in_the_middle, release = threading.Event(), threading.Event()
    ml.faults.extend([Fault()] * 9)
    ml.faults.append(Fault(before=lambda: (in_the_middle.set(), release.wait(PATIENCE))))
    job_id = site.upload(frame, tmp_path)
    with site.processor() as process:
        assert in_the_middle.wait(PATIENCE)
        process.send_signal(signal.SIGKILL)
        process.wait()
    release.set()
    assert site.store.get(job_id).status is Status.PROCESSING
    with site.processor() as process:
        job = site.finished(job_id)
        site.until(lambda: site.broker.counts(UPLOADS).held == 0)
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert (job.status, job.error, job.attempts) == (Status.DONE, None, 2)
    assert (job.rows_total, job.rows_done, job.rows_failed) == (20_000, 20_000, 0)
    scored = site.result(job_id)
    assert scored.headers == [*frame.columns, "predicted_price", "error"]
    assert scored.frame[frame.shape[1]].tolist() == prices(frame).tolist()
    assert scored.frame[1].tolist() == frame["model"].tolist()
    counts = site.broker.counts(UPLOADS)
    assert (counts.ready, counts.held, counts.delayed, counts.dead) == (0, 0, 0, 0)
    assert len(list(site.files.keys("results"))) == 1


def test_asked_to_stop_it_finishes_what_it_has_in_hand(site, ml, tmp_path):
    started, go_on = threading.Event(), threading.Event()
    ml.faults.append(Fault(before=lambda: (started.set(), go_on.wait(PATIENCE))))
    job_id = site.upload(rows(10), tmp_path)
    with site.processor() as process:
        assert started.wait(PATIENCE)
        process.terminate()
        site.until(lambda: "Stopping" in site.log.read_text())
        go_on.set()
        assert process.wait(PATIENCE) == 0
    assert site.store.get(job_id).status is Status.DONE


def test_asked_to_stop_it_hands_back_what_takes_too_long(site, ml, tmp_path):
    started, release = threading.Event(), threading.Event()
    ml.faults.append(Fault(before=lambda: (started.set(), release.wait(PATIENCE))))
    job_id = site.upload(rows(10), tmp_path)
    with site.processor(**constants(batch_rows=1000, shutdown_seconds=0.5)) as process:
        assert started.wait(PATIENCE)
        process.terminate()
        assert process.wait(PATIENCE) == 0
    release.set()
    assert site.store.get(job_id).status is Status.QUEUED
    assert site.broker.counts(UPLOADS).ready == 1
    with site.processor():
        assert site.finished(job_id).status is Status.DONE


def test_a_second_signal_ends_it_at_once(site, ml, tmp_path):
    started, release = threading.Event(), threading.Event()
    ml.faults.append(Fault(before=lambda: (started.set(), release.wait(PATIENCE))))
    job_id = site.upload(rows(10), tmp_path)
    with site.processor() as process:
        assert started.wait(PATIENCE)
        process.terminate()
        site.until(lambda: "Stopping" in site.log.read_text())
        process.terminate()
        assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    release.set()
    with site.processor():
        assert site.finished(job_id).status is Status.DONE


def test_started_before_the_ml_service_it_waits_and_says_so_once(site, tmp_path):
    [port] = free_ports(1)
    site.environ["AIMQ_ML_URL"] = f"http://127.0.0.1:{port}"
    ready = f"http://127.0.0.1:{site.settings.metrics_port}/health/ready"
    job_id = site.upload(rows(10), tmp_path)
    with site.processor():
        site.until(lambda: "Waiting: " in site.log.read_text())
        answer = httpx.get(ready)
        assert answer.status_code == 503
        assert "ml_service" in answer.json()["problems"]
        with ml_stand_in(port):
            job = site.finished(job_id)
            assert httpx.get(ready).status_code == 200
            metrics = httpx.get(ready.replace("health/ready", "metrics")).text
    assert (job.status, job.attempts) == (Status.DONE, 1)
    assert site.log.read_text().count("Waiting: ") == 1
    assert 'aimq_messages_total{end="success",kind="spreadsheet"} 1.0' in metrics


def test_waiting_for_a_service_it_can_be_asked_to_stop(site):
    [port] = free_ports(1)
    with site.processor(AIMQ_ML_URL=f"http://127.0.0.1:{port}") as process:
        site.until(lambda: "Waiting: " in site.log.read_text())
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_an_overloaded_ml_service_is_given_the_time_it_asks_for(site, ml, tmp_path):
    ml.faults.extend([Fault(503, {"Retry-After": "1"}, b"busy"), Fault(cut=True)])
    job_id = site.upload(rows(10), tmp_path)
    with site.processor():
        job = site.finished(job_id)
    assert (job.status, job.attempts) == (Status.DONE, 3)


def test_a_file_that_is_no_workbook_fails_with_what_to_do(site, tmp_path):
    bad = tmp_path / "renamed.xlsx"
    bad.write_bytes(b"%PDF-1.7")
    job_id = site.upload_file(bad)
    with site.processor():
        job = site.finished(job_id)
        site.until(lambda: site.broker.counts(UPLOADS).dead == 1)
    assert (job.status, job.attempts) == (Status.FAILED, 1)
    assert "save it as .xlsx" in job.error
    [letter] = site.broker.dead_letters(UPLOADS)
    assert letter.failure.error == job.error


def test_text_that_looks_like_a_formula_comes_back_as_text(site, tmp_path):
    frame = rows(3)
    frame["note"] = ["=1+1", "+x", "@y"]
    job_id = site.upload(frame, tmp_path)
    with site.processor():
        site.finished(job_id)
    with site.files.local_copy(result_key(site.store.get(job_id))) as path:
        sheet = openpyxl.load_workbook(path).active
    place = frame.columns.get_loc("note") + 1
    assert [(sheet.cell(n, place).value, sheet.cell(n, place).data_type) for n in (2, 3, 4)] == [
        ("=1+1", "s"), ("+x", "s"), ("@y", "s"),
    ]  # fmt: skip


def test_what_had_to_fit_the_format_is_noted_on_the_job(site, tmp_path):
    plain, named = tmp_path / "plain.xlsx", tmp_path / "named.xlsx"
    rows(3).to_excel(plain, sheet_name="cars", index=False)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(named, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "xl/workbook.xml":
                content = content.replace(b'name="cars"', b'name="cars [old] / new?"')
            target.writestr(name, content)
    job_id = site.upload_file(named)
    with site.processor():
        job = site.finished(job_id)
    assert job.status is Status.DONE
    assert job.notes == ["The sheet 'cars [old] / new?' is named 'cars _old_ _ new_'."]
    assert job.public()["notes"] == job.notes
