"""Trainings, with a stand-in for ``aimq train`` that keeps to its contract."""

import io
import json
import os
import select
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from aimq.broker.port import Delivery
from aimq.errors import Invalid, NotInstalled, TaskTooLong, WorkbookError, WorkerDied
from aimq.files import connect_files
from aimq.files.keys import upload_key
from aimq.jobs.job import Job
from aimq.jobs.port import Claim
from aimq.jobs.training import Training, model_name
from aimq.messages import Kind, Message
from aimq.settings import load_settings
from batch_processor.disposition import Ack, Defer, Stopped
from batch_processor.training import TrainingHandler
from batch_processor.work import Work

MIB = 1024 * 1024
PATIENCE = 20.0
DONE = """
import json, os, sys
open("note", "w").close()
print("area  number")
print(json.dumps({
    "name": "houses", "version": "20260131T120000Z", "path": os.getcwd(), "report": "report.html",
    "task": "regression",
    "groups": {"all": {"arguments": sys.argv[1:], "table": open(sys.argv[1]).read(),
                       "environment": dict(os.environ)}},
}))
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("AIMQ_API_KEYS", "sesame")
    return load_settings(
        data_dir=tmp_path / "data", models_dir=tmp_path / "models", internal_token="secret"
    )


@pytest.fixture
def work(settings):
    return made(settings, Training(target="price", ending=".csv", group="-region"))


def made(settings, asked, model="houses"):
    job = Job(kind=Kind.TRAINING, model=model, input=msgspec.json.encode(asked))
    connect_files(settings).put(upload_key(job.job_id), io.BytesIO(b"area,price\n1,2\n"))
    delivery = Delivery(queue="q", message_id=job.job_id, body=b"", attempts=0)
    message = Message(job_id=job.job_id, kind=job.kind)
    return Work(delivery, message, Claim(job=job, token="1f"), store=None)


def handler(settings, tmp_path, script, memory=1024 * MIB):
    path = tmp_path / "stand_in.py"
    path.write_text(script)
    return TrainingHandler(connect_files(settings), settings, memory, (sys.executable, str(path)))


def test_what_was_published_is_the_result(settings, tmp_path, work):
    ack = handler(settings, tmp_path, DONE)(work)

    assert isinstance(ack, Ack)
    result = json.loads(ack.result)
    assert result.keys() == {"name", "version", "task", "groups", "replaced"}
    assert (result["name"], result["task"], result["replaced"]) == ("houses", "regression", None)
    seen = result["groups"]["all"]
    assert seen["table"] == "area,price\n1,2\n"
    assert seen["arguments"] == [
        "houses.csv", "--target=price", "--name=houses", "--group=-region", "--json",
        "--parent", str(os.getpid()),
    ]  # fmt: skip
    environment = seen["environment"]
    assert environment["AIMQ_MODELS_DIR"] == str(tmp_path / "models")
    assert {"sesame", "secret"}.isdisjoint(environment.values())
    assert not Path(environment["TMPDIR"]).exists()


def test_a_mistake_of_its_user_fails_in_the_words_of_the_command(settings, tmp_path, work):
    script = (
        "import sys; print('noise\\naimq: price: is blank\\nlast', file=sys.stderr); sys.exit(2)"
    )
    with pytest.raises(Invalid, match=r"^price: is blank$"):
        handler(settings, tmp_path, script)(work)


@pytest.mark.parametrize("code", [1, 2, 3])
def test_what_is_no_mistake_of_its_user_may_be_tried_again(settings, tmp_path, work, code):
    script = f"import sys; print('what is wrong', file=sys.stderr); sys.exit({code})"
    with pytest.raises(WorkerDied, match=f"exit code {code}: what is wrong"):
        handler(settings, tmp_path, script)(work)


def test_a_training_that_is_killed_may_be_tried_again(settings, tmp_path, work):
    with pytest.raises(WorkerDied, match="was killed"):
        handler(settings, tmp_path, "import os; os.kill(os.getpid(), 9)")(work)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux only")
@pytest.mark.parametrize("script", ["bytes(10**9)", "import os; os.abort()"])
def test_over_the_memory_limit_it_fails_with_advice(settings, tmp_path, work, script):
    with pytest.raises(Invalid, match=r"more than 256 MiB of memory\. Train on fewer"):
        handler(settings, tmp_path, script, memory=256 * MIB)(work)


@contextmanager
def begun(train, work, pipe):
    """Train in a thread; gives the read end of a pipe that the stand-in has begun to write to."""
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    thread = threading.Thread(target=stopped, args=(train, work))
    thread.start()
    assert select.select([end], [], [], PATIENCE)[0]
    os.read(end, 1)
    try:
        yield end
    finally:
        work.cancel()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        os.close(end)


def stopped(train, work):
    with suppress(Stopped):
        train(work)


def test_a_training_that_is_cancelled_leaves_no_process(settings, tmp_path, work):
    pipe = tmp_path / "pipe"
    script = f"""
import subprocess, sys, time
out = open({str(pipe)!r}, "wb", 0)
subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"],
                 stdout=out)
time.sleep(600)
"""
    with begun(handler(settings, tmp_path, script), work, pipe) as end:
        work.cancel()
        assert select.select([end], [], [], PATIENCE)[0]
        assert os.read(end, 1) == b""  # nobody holds the other end


def test_over_the_time_limit_it_is_stopped_with_advice(settings, tmp_path, work):
    settings = settings.model_copy(update={"training_seconds": 0.1})
    with pytest.raises(TaskTooLong, match="was stopped"):
        handler(settings, tmp_path, "import time; time.sleep(600)")(work)


def test_a_second_training_waits_without_a_thread(settings, tmp_path, work):
    pipe = tmp_path / "pipe"
    script = f"import time; open({str(pipe)!r}, 'wb', 0).write(b'.'); time.sleep(600)"
    train = handler(settings, tmp_path, script)
    with begun(train, work, pipe):
        assert isinstance(train(made(settings, Training(target="y", ending=".csv"))), Defer)


def test_a_models_folder_that_cannot_be_written_is_said(settings, tmp_path, work):
    (tmp_path / "models").write_text("a file")
    with pytest.raises(NotInstalled, match="cannot write the models folder"):
        handler(settings, tmp_path, DONE)(work)


def test_an_upload_that_is_gone_is_said(settings, tmp_path, work):
    connect_files(settings).delete(upload_key(work.job.job_id))
    with pytest.raises(WorkbookError, match="Upload it again"):
        handler(settings, tmp_path, DONE)(work)


def test_a_model_is_replaced_by_one_of_the_same_target_only(settings, tmp_path, trained_models):
    settings = settings.model_copy(update={"models_dir": trained_models})
    train = handler(settings, tmp_path, DONE)
    same = Training(target="Price_in_local_currency", ending=".csv")
    result = json.loads(train(made(settings, same, "used_cars")).result)

    assert result["replaced"] == (trained_models / "used_cars" / "current").read_text().strip()
    with pytest.raises(Invalid, match=r"'price_in_local_currency'\. Give this one another name"):
        train(made(settings, Training(target="price", ending=".csv"), "used_cars"))


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("My Houses (2).xlsx", "my_houses_2"),
        ("Größe.csv", "gr_sse"),
        ("…", "table"),
        ("x" * 99 + ".csv", "x" * 64),
    ],
)
def test_a_model_is_called_like_its_table(filename, name):
    assert model_name(filename) == name
