"""Ends a supervised service whose supervisor is gone, so that no orphan holds its port."""

from __future__ import annotations

import os
import signal
import threading
import time


def watch_parent(parent: int, interval: float = 1.0) -> None:
    """Send SIGTERM to this process once `parent` is no longer its parent.

    Args:
        parent: process id of the supervisor; 0 follows nobody.
        interval: seconds between looks.
    """
    if not parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(interval)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
