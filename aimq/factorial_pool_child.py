"""The process behind `aimq.factorial_pool`: ``python -m aimq.factorial_pool_child``."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from typing import Final

from aimq.factorial import digits, factorial

#: Added to the niceness: the services go first.
_NICENESS: Final = 10


def main() -> None:
    """Answer until the standard input ends; end with it even in the middle of a computation."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent acts
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    out = sys.stdout.buffer
    while True:
        out.write(digits(factorial(asked.get())).encode("ascii") + b"\n")
        out.flush()


def _listen(asked: queue.SimpleQueue[int]) -> None:
    for line in sys.stdin.buffer:
        asked.put(int(line))
    os._exit(0)


if __name__ == "__main__":
    main()
