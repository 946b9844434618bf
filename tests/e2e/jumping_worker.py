"""A batch processor whose time of day is off by the seconds in the file ``AIMQ_TEST_OFFSET``.

Its monotonic clock is not: a step of a machine's time does not move that one either.
"""

import os
import sys
import time
from pathlib import Path

OFFSET = Path(os.environ["AIMQ_TEST_OFFSET"])
time_of_day, time_of_day_ns = time.time, time.time_ns
time.time = lambda: time_of_day() + int(OFFSET.read_text())
time.time_ns = lambda: time_of_day_ns() + int(OFFSET.read_text()) * 10**9

from aimq.settings import load_settings  # noqa: E402 # its clocks are those above
from aimq.telemetry import configure_logging  # noqa: E402
from batch_processor import app  # noqa: E402

if __name__ == "__main__":
    settings = load_settings()
    configure_logging(settings, "batch-processor")
    sys.exit(app.run(settings))
