"""A batch processor that freezes in the middle of the first result that it stores.

When it goes on and the result is stored, it makes the file named in ``AIMQ_TEST_WRITTEN``.
"""

import os
import signal
import sys
from pathlib import Path

from aimq.files import connect_files
from aimq.settings import load_settings
from aimq.telemetry import configure_logging
from batch_processor import app


class FreezingStream:
    """Gives half of the bytes, and the rest after the process was stopped and continued."""

    def __init__(self, stream):
        data = stream.read()
        self._parts = [data[len(data) // 2 :], data[: len(data) // 2]]

    def read(self, size=-1):
        if len(self._parts) == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return self._parts.pop() if self._parts else b""


class FreezingFiles:
    """The file store of the settings, whose first `put` freezes the process."""

    def __init__(self, settings):
        self._files = connect_files(settings)
        self._frozen = False

    def __getattr__(self, name):
        return getattr(self._files, name)

    def put(self, key, stream):
        if self._frozen:
            return self._files.put(key, stream)
        self._frozen = True
        size = self._files.put(key, FreezingStream(stream))
        Path(os.environ["AIMQ_TEST_WRITTEN"]).touch()
        return size


if __name__ == "__main__":
    settings = load_settings()
    configure_logging(settings, "batch-processor")
    app.connect_files = FreezingFiles
    sys.exit(app.run(settings))
