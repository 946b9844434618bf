"""Drives a page in headless Chromium, over the DevTools protocol.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

PATIENCE: Final = 120.0
_NAMES: Final = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "chrome",
)
_OPTIONS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
    "--window-size=1300,2000",
)


class Browser:
    """One tab. What goes wrong in it (exceptions, refusals of the policy) is in `faults`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._count = socket, 0
        self.faults: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Load a page; returns before it is complete: wait for what it shows."""
        self._call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Return what an expression is in the page; a promise is awaited."""
        done = self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, script: str) -> None:
        """Return once an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({script})"):
            if time.monotonic() > deadline:
                said = self.run("document.body?.innerText")
                raise AssertionError(f"{script}\n{self.faults}\n{said}")
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        """Return the text that an element shows."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def set(self, selector: str, value: str) -> None:
        """Give a control a value, as typing or choosing does."""
        at, what = json.dumps(selector), json.dumps(value)
        events = "for (const kind of ['input', 'change']) "
        events += "element.dispatchEvent(new Event(kind, { bubbles: true }))"
        self.run(
            f"{{ const element = document.querySelector({at}); element.value = {what}; {events} }}"
        )

    def click(self, selector: str) -> None:
        """Click an element once it can be clicked."""
        at = f"document.querySelector({json.dumps(selector)})"
        self.until(f"{at} && !{at}.closest('[inert]')")
        self.run(f"{at}.click()")

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in a file input, as its dialog does."""
        script = f"document.querySelector({json.dumps(selector)})"
        found = self._call("Runtime.evaluate", expression=script)["result"]
        self._call("DOM.setFileInputFiles", objectId=found["objectId"], files=[str(path)])

    def screenshot(self, path: Path) -> None:
        """Write what the tab shows as a PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **params: object) -> dict[str, Any]:
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while True:
            message: dict[str, Any] = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("id") == self._count:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.faults.append(str(params["exceptionDetails"]))
        if message["method"] == "Log.entryAdded" and params["entry"]["source"] == "security":
            self.faults.append(params["entry"]["text"])


@contextmanager
def browser() -> Iterator[Browser]:
    """Give an empty tab; without Chromium the test is skipped, unless services are required."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        if os.environ.get("AIMQ_REQUIRE_SERVICES"):
            pytest.fail("there is no Chromium")
        pytest.skip("there is no Chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        log = Path(profile) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, process_group=0)
        try:
            with connect(_tab(Path(profile), process), max_size=None, proxy=None) as socket:
                yield Browser(socket)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the command may be a script around it
            process.wait()


def _tab(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Return the address of the tab, once the browser listens."""
    port = profile / "DevToolsActivePort"
    deadline = time.monotonic() + PATIENCE
    while not (port.exists() and port.read_text().count("\n")):
        assert process.poll() is None, (profile / "log").read_text()
        assert time.monotonic() < deadline, "Chromium does not start"
        time.sleep(0.05)
    url = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json"
    while True:
        for tab in httpx.get(url, trust_env=False).json():
            if tab["type"] == "page":
                return str(tab["webSocketDebuggerUrl"])
        assert time.monotonic() < deadline, "Chromium has no tab"
        time.sleep(0.05)
