"""The child processes: kept, replaced, limited in time, ended with their parent."""

import os
import select
import signal
import subprocess
import sys
import threading

import pytest

from aimq.errors import TaskTooLong, WorkbookError, WorkerDied
from aimq.workbook.reader import WorkbookReader
from tests.hostile_workbooks import COLUMNS, READ, REFUSED


@pytest.fixture
def reader():
    reader = WorkbookReader(256)
    yield reader
    reader.close()


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "plain.xlsx"
    path.write_bytes(READ["plain"]())
    return path


def child_of(reader):
    (child,) = reader._pool._idle
    return child._process


def end_soon(process, number):
    """Stop a process, so that it is under way with the next file when it is ended."""

    def end():
        os.kill(process.pid, number)
        os.kill(process.pid, signal.SIGCONT)

    os.kill(process.pid, signal.SIGSTOP)
    threading.Timer(0.2, end).start()


def test_a_process_is_kept_for_the_next_file(reader, plain):
    reader.read(plain, 10)
    first = child_of(reader)
    reader.read(plain, 10)
    assert child_of(reader) is first


def test_a_file_that_takes_too_much_memory_spoils_no_other(reader, plain, tmp_path):
    hostile = tmp_path / "hostile.xlsx"
    hostile.write_bytes(REFUSED["nine digits"]())
    with pytest.raises(WorkbookError, match="too much memory") as caught:
        reader.read(hostile, 10)
    assert not caught.value.retryable
    assert tuple(reader.read(plain, 10).headers) == COLUMNS


def test_a_process_killed_while_idle_is_replaced(reader, plain):
    reader.read(plain, 10)
    process = child_of(reader)
    process.kill()
    process.wait()
    assert tuple(reader.read(plain, 10).headers) == COLUMNS


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGKILL, WorkerDied), (signal.SIGALRM, TaskTooLong), (signal.SIGABRT, WorkbookError)],
)
def test_how_a_process_ended_says_what_becomes_of_the_file(reader, plain, number, error):
    reader.read(plain, 10)
    end_soon(child_of(reader), number)
    with pytest.raises(error):
        reader.read(plain, 10)


def test_a_header_that_cannot_be_told_in_time_is_left_open(reader, plain):
    with plain.open("rb") as file:
        assert reader.header(file)
        end_soon(child_of(reader), signal.SIGALRM)
        assert reader.header(file) is None


def test_a_closed_reader_reads_no_more(reader, plain):
    reader.close()
    with pytest.raises(WorkerDied):
        reader.read(plain, 10)


def test_processes_end_with_their_parent(plain):
    script = (
        "import sys; from pathlib import Path; from aimq.workbook.reader import WorkbookReader\n"
        "reader = WorkbookReader(256); reader.read(Path(sys.argv[1]), 10)\n"
        "print(reader._pool._idle[0]._process.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(plain)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        child = int(parent.stdout.readline())
        descriptor = os.pidfd_open(child)
        parent.kill()
    assert select.select([descriptor], [], [], 10)[0]
    os.close(descriptor)
