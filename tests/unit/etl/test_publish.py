from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aimq.errors import FilesUnavailable
from aimq.published import Manifest, current_version, read_manifest, verified, versions
from etl.publish import stage

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
MANIFEST = Manifest(name="m", version="", groups=["A"], files={}, created_at="", data="test")

#: Publishes a version and dies, as if killed, just before its n-th dealing with the file system.
KILLED = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
import etl.publish
from test_publish import publish

left = int(sys.argv[2])

def die_when_due(event, arguments):
    global left
    if event in {"open", "os.mkdir", "os.rename", "fcntl.flock", "os.remove", "os.rmdir"}:
        left -= 1
        if left == 0:
            os._exit(9)

sys.addaudithook(die_when_due)
publish(Path(sys.argv[1]), b"second", keep=1)
"""


def publish(models: Path, content: bytes, now: datetime = NOW, keep: int = 5) -> Manifest:
    with stage(models, "m") as staging:
        staging.write("A.onnx", content)
        staging.write("A.pkl", content)
        return staging.publish(MANIFEST, now, keep)


def served(models: Path) -> bytes:
    """The content in service, every digest checked."""
    folder = models / "m" / current_version(models, "m")
    manifest = read_manifest(folder)
    contents = {verified(folder, manifest, name).read_bytes() for name in manifest.files}
    (content,) = contents
    return content


def leftovers(models: Path) -> list[Path]:
    return [path for path in (models / "m").glob(".*") if path.name != ".lock"]


def test_a_version_is_named_for_its_utc_second(tmp_path: Path):
    assert publish(tmp_path, b"x").version == "20260131T120000Z"
    assert served(tmp_path) == b"x"


def test_a_version_is_later_than_every_other_even_when_the_clock_is_not(tmp_path: Path):
    publish(tmp_path, b"first")
    publish(tmp_path, b"second")
    publish(tmp_path, b"third", datetime(2020, 1, 1, tzinfo=UTC))
    assert versions(tmp_path, "m") == ["20260131T120000Z", "20260131T120001Z", "20260131T120002Z"]
    assert served(tmp_path) == b"third"


def test_only_the_newest_versions_stay(tmp_path: Path):
    for number in range(7):
        publish(tmp_path, b"%d" % number, keep=3)
    assert versions(tmp_path, "m") == [f"20260131T12000{second}Z" for second in (4, 5, 6)]
    assert served(tmp_path) == b"6"
    assert leftovers(tmp_path) == []


def test_the_version_in_service_stays_even_if_no_other_does(tmp_path: Path):
    for content in (b"first", b"second"):
        publish(tmp_path, content, keep=1)
        assert served(tmp_path) == content
    assert len(versions(tmp_path, "m")) == 1


def test_a_version_being_read_can_be_read_to_its_end_while_it_is_deleted(tmp_path: Path):
    first = publish(tmp_path, b"first", keep=1).version
    with (tmp_path / "m" / first / "A.pkl").open("rb") as file:
        publish(tmp_path, b"second", keep=1)
        assert file.read() == b"first"
    assert not (tmp_path / "m" / first).exists()


def test_an_old_version_that_cannot_be_deleted_keeps_nothing_from_being_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    publish(tmp_path, b"first")

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("etl.publish._prune", refuse)
        publish(tmp_path, b"second", keep=1)
    assert served(tmp_path) == b"second"
    publish(tmp_path, b"third", keep=1)
    assert len(versions(tmp_path, "m")) == 1


def kill_at(step: int, models: Path) -> int:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(models), str(step)]
    return subprocess.run(command, env=environment, timeout=60, check=False).returncode


def test_killed_at_any_step_a_whole_version_is_in_service(tmp_path: Path):
    first = tmp_path / "first"
    publish(first, b"first")
    outcomes = []
    for step in range(1, 100):
        models = Path(shutil.copytree(first, tmp_path / f"killed-{step}"))
        died = kill_at(step, models) == 9
        outcomes.append(served(models))
        publish(models, b"third")
        assert served(models) == b"third"
        assert leftovers(models) == []
        if not died:
            break
    assert not died
    switched = outcomes.index(b"second")
    assert switched > 8
    assert set(outcomes[:switched]) == {b"first"}
    assert set(outcomes[switched:]) == {b"second"}


@pytest.mark.parametrize("failing", ["fsync", "rename", "replace"])
def test_a_disk_that_refuses_leaves_the_earlier_version(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    publish(tmp_path, b"first")

    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os if failing == "fsync" else Path, failing, refuse)
        with pytest.raises(FilesUnavailable, match="No space left"):
            publish(tmp_path, b"second")
    assert served(tmp_path) == b"first"
    assert [path for path in leftovers(tmp_path) if path.is_dir()] == []


def test_a_models_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(FilesUnavailable, match="cannot be written"):
        publish(tmp_path / "file", b"x")


def test_interrupted_work_leaves_nothing(tmp_path: Path):
    def interrupted() -> None:
        with stage(tmp_path, "m") as staging:
            staging.write("A.onnx", b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert leftovers(tmp_path) == []
    assert versions(tmp_path, "m") == []


def test_a_staging_folder_whose_owner_lives_is_left_alone(tmp_path: Path):
    with stage(tmp_path, "m") as slow:
        slow.write("A.onnx", b"slow")
        publish(tmp_path, b"fast")
        slow.write("A.pkl", b"slow")
        slow.publish(MANIFEST, NOW)
    assert served(tmp_path) == b"slow"
    assert len(versions(tmp_path, "m")) == 2


def test_publishers_at_once_do_not_disturb_each_other(tmp_path: Path):
    count = 8
    together = threading.Barrier(count)
    published: list[Manifest] = []

    def work(number: int) -> None:
        together.wait(timeout=30)
        published.append(publish(tmp_path, b"%d" % number, keep=count))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    names = sorted(manifest.version for manifest in published)
    assert names == versions(tmp_path, "m")
    assert len(set(names)) == count
    assert current_version(tmp_path, "m") == names[-1]
    assert leftovers(tmp_path) == []
    for name in names:
        manifest = read_manifest(tmp_path / "m" / name)
        assert len({verified(tmp_path / "m" / name, manifest, f) for f in manifest.files}) == 2
