"""The commands of `aimq`, each run to its end as a process."""

import shutil

import openpyxl
import pytest

from aimq.settings import variables
from tests.system import ROOT, environment, run_aimq

SAMPLE = ROOT / "assets" / "sample_files" / "100_rows.xlsx"


@pytest.mark.slow
def test_the_demo_scores_a_file_on_ports_of_its_own_and_shuts_down(trained_models, tmp_path):
    result = tmp_path / "made for it" / "out.xlsx"
    environ = environment(tmp_path / "unused", trained_models)
    done = run_aimq(environ, "demo", str(SAMPLE), "-o", str(result))
    assert done.returncode == 0, done.stderr
    assert "100 rows scored" in done.stdout
    assert "predicted_price" in done.stdout
    assert len(list(openpyxl.load_workbook(result).active.values)) == 101


def test_an_upload_without_a_target_is_written_beside_the_file(system, tmp_path):
    file = tmp_path / "cars.xlsx"
    shutil.copy(SAMPLE, file)
    done = system.aimq("upload", str(file))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cars_predicted.xlsx").is_file()
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(
    ("file", "target", "said"),
    [
        ("nothing.xlsx", "out.xlsx", "nothing.xlsx: no such file"),
        ("cars.xlsx", "cars.xlsx/out.xlsx", "cars.xlsx"),
    ],
)
def test_an_upload_that_cannot_be_is_one_line_and_exit_code_1(system, tmp_path, file, target, said):
    shutil.copy(SAMPLE, tmp_path / "cars.xlsx")
    done = system.aimq("upload", str(tmp_path / file), "-o", str(tmp_path / target))
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_is_no_workbook_is_refused_in_words(system, tmp_path):
    (tmp_path / "cars.xlsx").write_bytes(b"%PDF-1.7")
    done = system.aimq("upload", str(tmp_path / "cars.xlsx"))
    assert done.returncode == 1
    assert done.stderr.startswith("aimq: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["upload", str(SAMPLE)], ["jobs"], ["dead-letters", "list"]])
def test_an_interface_that_is_not_there_is_exit_code_3(arguments, trained_models, tmp_path):
    shutil.copy(SAMPLE, tmp_path)
    done = run_aimq(environment(tmp_path, trained_models), *arguments)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_setting_that_does_not_exist_is_exit_code_2(trained_models, tmp_path):
    done = run_aimq(environment(tmp_path, trained_models, AIMQ_NO_SUCH="1"), "jobs")
    assert done.returncode == 2
    assert "AIMQ_NO_SUCH" in done.stderr


def test_the_settings_are_printed_with_their_meaning(trained_models, tmp_path):
    done = run_aimq(environment(tmp_path, trained_models), "settings")
    assert done.returncode == 0
    assert all(f"AIMQ_{name.upper()}" in done.stdout for name in variables())


def test_nothing_is_trained_when_a_version_is_there(trained_models, tmp_path):
    before = sorted(trained_models.rglob("*"))
    done = run_aimq(environment(tmp_path, trained_models), "train", "--if-missing")
    assert done.returncode == 0
    assert sorted(trained_models.rglob("*")) == before
