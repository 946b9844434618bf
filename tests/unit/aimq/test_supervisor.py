import asyncio
import os
import sys
from pathlib import Path

import pytest

from aimq.restart_backoff import RestartBackoff
from aimq.supervisor import Service, Supervisor

#: Notes its pid, then waits for SIGTERM, notes its name, and exits 0.
STEADY = """
import pathlib, signal, sys
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
def stop(*_):
    with (folder / "stopped").open("a") as log: log.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
with (folder / name).open("a") as log: log.write(f"{__import__('os').getpid()}\\n")
signal.pause()
"""


def steady(name: str, folder: Path) -> Service:
    command = [sys.executable, "-c", STEADY, name, str(folder)]
    return Service(name, command, policy=RestartBackoff(base_seconds=0.01))


async def pids(path: Path, count: int) -> list[int]:
    while True:
        if path.exists() and len(lines := path.read_text().split()) >= count:
            return [int(line) for line in lines]
        await asyncio.sleep(0.01)


async def test_services_are_stopped_in_order_and_the_exit_code_is_zero(tmp_path):
    services = [steady(name, tmp_path) for name in ("door", "worker", "model")]
    supervisor = Supervisor(services, os.environ, lambda _: None)
    running = asyncio.create_task(supervisor.run())
    for service in services:
        await pids(tmp_path / service.name, 1)
    supervisor.stop()
    assert await running == 0
    assert (tmp_path / "stopped").read_text().split() == ["door", "worker", "model"]


async def test_a_service_that_dies_is_started_again_and_said_so(tmp_path):
    said: list[str] = []
    supervisor = Supervisor([steady("worker", tmp_path)], os.environ, said.append)
    running = asyncio.create_task(supervisor.run())
    [first] = await pids(tmp_path / "worker", 1)
    os.kill(first, 9)
    _, second = await pids(tmp_path / "worker", 2)
    supervisor.stop()
    assert await running == 0
    assert second != first
    assert said == ["worker died (SIGKILL); starting it again in 0.0 s"]


async def test_a_refusal_of_the_settings_ends_everything_with_its_code(tmp_path):
    refusing = Service("door", [sys.executable, "-c", "raise SystemExit(2)"])
    supervisor = Supervisor([refusing, steady("worker", tmp_path)], os.environ, lambda _: None)
    assert await supervisor.run() == 2


async def test_a_service_that_will_not_stop_is_killed(tmp_path):
    deaf = STEADY.replace("sys.exit(0)", "return").replace(
        "signal.pause()", "[signal.pause() for _ in iter(int, 1)]"
    )
    said: list[str] = []
    service = Service("deaf", [sys.executable, "-c", deaf, "deaf", str(tmp_path)])
    supervisor = Supervisor([service], os.environ, said.append, stop_seconds=0.2)
    running = asyncio.create_task(supervisor.run())
    await pids(tmp_path / "deaf", 1)
    supervisor.stop()
    await running
    assert said == ["deaf did not stop in 0 s; killing it"]


#: Follows its parent and notes its pid.
CHILD = """
import os, sys, time
from aimq.parent_watchdog import watch_parent
watch_parent(os.getppid(), 0.01)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(60)
"""
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}, sys.argv[1]])"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_a_service_ends_when_its_supervisor_is_killed(tmp_path):
    note = tmp_path / "child"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, str(note))
    [pid] = await pids(note, 1)
    process.kill()
    await process.wait()
    while alive(pid):
        await asyncio.sleep(0.01)
