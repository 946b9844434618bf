"""A batch processor whose process dies of uploads with the name in ``AIMQ_TEST_POISON``."""

import os
import sys

from aimq.settings import load_settings
from aimq.telemetry import configure_logging
from batch_processor import app
from batch_processor.spreadsheets import SpreadsheetHandler


class Poisoned(SpreadsheetHandler):
    def __call__(self, work):
        if work.job.filename == os.environ["AIMQ_TEST_POISON"]:
            os._exit(9)
        return super().__call__(work)


if __name__ == "__main__":
    settings = load_settings()
    configure_logging(settings, "batch-processor")
    app.SpreadsheetHandler = Poisoned
    sys.exit(app.run(settings))
