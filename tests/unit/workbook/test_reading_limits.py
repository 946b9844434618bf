"""What a reader may use: each bound alone, for a hostile file meets several."""

import io
import signal
import subprocess
import sys
import zipfile

import pytest

from aimq.errors import UnsupportedMedia, WorkbookError
from aimq.workbook.cells import write_columns
from aimq.workbook.package import Package
from tests.hostile_workbooks import REFUSED
from tests.unit.workbook.workbooks import package, row

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux only")


def run(script, *arguments):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@linux
def test_more_memory_than_the_limit_cannot_be_had():
    done = run(
        "from aimq.workbook.limits import limit\n"
        "limit(64 << 20, seconds=60)\n"
        "bytearray(32 << 20)\n"
        "try: bytearray(256 << 20)\n"
        "except MemoryError: print('refused')"
    )
    assert done.stdout == "refused\n", done.stderr


def test_what_takes_longer_than_the_limit_is_ended():
    done = run(
        "from aimq.workbook.limits import limit\nlimit(1 << 30, seconds=0.1)\nwhile True: pass"
    )
    assert done.returncode == -signal.SIGALRM


def test_texts_that_are_too_long_together_are_refused():
    rows = iter([["x" * 1000]] * 10)
    with pytest.raises(WorkbookError, match="too long"):
        write_columns(rows, 1, io.BytesIO(), max_text=5_000)


@linux
def test_a_long_text_in_many_cells_takes_no_more_memory_than_the_limit(tmp_path):
    hostile = tmp_path / "hostile.xlsx"
    hostile.write_bytes(REFUSED["shared string 60,000 times"]())
    done = run(
        "import resource, sys; from pathlib import Path\n"
        "from aimq.errors import WorkbookError; from aimq.workbook.reader import WorkbookReader\n"
        "reader = WorkbookReader(256)\n"
        "try: reader.read(Path(sys.argv[1]), 100_000)\n"
        "except WorkbookError: reader.close()\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)",
        hostile,
    )
    assert int(done.stdout) < 1024, done.stderr  # MiB; without a limit 2,100


@pytest.mark.parametrize(("size", "taken"), [(1 << 20, True), (5 << 20, False)])
def test_a_part_that_is_parsed_as_a_tree_may_not_be_large(size, taken, tmp_path):
    part = "xl/_rels/workbook.xml.rels"
    relations = zipfile.ZipFile(package(row("A"))).read(part)
    path = tmp_path / "large.xlsx"
    path.write_bytes(package(row("A"), **{part: relations + b" " * size}).getvalue())
    with path.open("rb") as file:
        workbook = Package(file, max_unpacked=1 << 30)
        if taken:
            assert workbook.first_visible_sheet().name == "Cars"
        else:
            with pytest.raises(UnsupportedMedia):
                workbook.first_visible_sheet()
