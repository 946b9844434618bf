"""What the README says is run: every `sh` block of it, as it stands there."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import openpyxl
import pytest

from tests.system import PATIENCE, ROOT, environment, running, wait_ready

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
MAKE = [line for block in BLOCKS for line in block.splitlines() if line.startswith("make ")]
#: The call that the public contract fixes, as it is copied.
CALL = {
    "model_group": "A", "model": 180, "kilometers": 5000, "fuel_type": "Diesel",
    "gear_type": "Manual", "vehicle_type": "Sedan Car", "age_in_months": 12, "color": "Black",
    "line": "Sportline", "doors": "4 to 5", "seats": "1 to 3", "climate": "Air Conditioning",
}  # fmt: skip
OWN_TABLE = next(block for block in BLOCKS if "aimq train" in block)
ON_A_RUNNING_SYSTEM = [
    block for block in BLOCKS if ("curl" in block or "bin/aimq" in block) and block != OWN_TABLE
]


def test_every_block_is_run_here():
    other = [block for block in BLOCKS if block not in (*ON_A_RUNNING_SYSTEM, OWN_TABLE)]
    assert [line for block in other for line in block.splitlines()] == MAKE
    assert {"make demo", "make test", "make up"} <= set(MAKE)
    assert len(ON_A_RUNNING_SYSTEM) >= 2


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The project's files as git has or would take them, in a path with a space."""
    folder = tmp_path_factory.mktemp("a clone")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def command(line, folder, environ):
    """Run a line as a person would, without what this test run has set for itself."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(("COVERAGE", "COV_", "PYTHONPATH", "MAKE", "VIRTUAL_ENV"))
    }
    python = {"PYTHON": sys._base_executable}
    return subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=folder, env={**kept, **python}, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def output_of(line, folder, environ):
    process = command(line, folder, environ)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_make_demo_scores_the_sample_and_a_second_time_installs_and_trains_nothing(clone, tmp_path):
    environ = environment(tmp_path / "data", clone / "models")
    del environ["AIMQ_MODELS_DIR"], environ["AIMQ_DATA_DIR"]  # the defaults are what is tried

    first = output_of("make demo", clone, environ)
    assert "1,000 rows scored" in first
    result = clone / "results" / "1000_rows_predicted.xlsx"
    rows = list(openpyxl.load_workbook(result).active.values)
    assert len(rows) == 1001
    assert {"predicted_price", "error"} < set(rows[0])
    assert "Installing" in first

    made = snapshot(clone)
    second = output_of("make demo", clone, environ)
    assert "1,000 rows scored" in second
    assert "Installing" not in second
    assert snapshot(clone) == made

    serve_until_interrupted(clone, environ)


def snapshot(clone):
    """Return what installing or training would change."""
    marks = [clone / ".venv" / name for name in (".python", ".runtime")]
    packages = (clone / ".venv").glob("lib/*/site-packages/*")
    return (
        [mark.stat().st_mtime_ns for mark in marks],
        sorted((path.name, path.stat().st_mtime_ns) for path in packages),
        sorted(str(path) for path in (clone / "models").rglob("*")),
    )


def serve_until_interrupted(clone, environ):
    url = f"http://127.0.0.1:{environ['AIMQ_INTERFACE_PORT']}"
    process = command("make up", clone, environ)
    try:
        wait_ready(process, environ["AIMQ_ML_URL"], url)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert url in said


@pytest.mark.parametrize("line", MAKE)
def test_every_target_exists(line):
    target = line.split()[1]
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def run(block, system, folder):
    """Run a block in a folder as it stands, but for the address and the program."""
    script = block.replace("http://127.0.0.1:8080", system.url).replace(
        ".venv/bin/aimq", f"{shlex.quote(sys.executable)} -m aimq"
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace("curl ", "curl --fail --silent ")],
        cwd=folder, env=dict(system.environ), capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


def test_a_table_of_ones_own_is_trained_and_the_next_one_scored(tmp_path, tables):
    table = tables["rentals"]
    table.frame.to_excel(tmp_path / "sales.xlsx", index=False)
    table.sheet(20).to_excel(tmp_path / "new_sales.xlsx", index=False)
    environ = environment(tmp_path / "data", tmp_path / "models")
    with running(environ, models=False) as system:
        assert "scored by sales" in run(OWN_TABLE, system, tmp_path).stdout
    assert (tmp_path / "new_sales_predicted.xlsx").is_file()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("block", ON_A_RUNNING_SYSTEM, ids=lambda block: block.split()[0])
def test_the_commands_do_what_they_say_on_a_running_system(block, system, tmp_path):
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    done = run(block, system, tmp_path)
    first = json.loads(done.stdout.partition("}")[0] + "}")
    assert {"job_id", "predicted_price"} & first.keys()
    for named in re.findall(r"-o (\S+)", block):
        assert Path(tmp_path / named).is_file()


def test_the_readmes_record_is_answered_as_it_stands(system):
    (body,) = re.findall(r"/predict\b.*? -d '(.*?)'", README, re.DOTALL)
    assert json.loads(body) == CALL
    answer = httpx.post(
        f"{system.url}/predict", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_group"] == "A"
    assert answer.json()["predicted_price"] > 0
