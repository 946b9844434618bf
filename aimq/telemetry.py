"""Logging and trace context, the same in every service."""

from __future__ import annotations

import logging
import re
import secrets
import sys
import time
from typing import Final

import msgspec

from aimq.settings import Settings

_TRACEPARENT: Final = re.compile(r"^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$")


def configure_logging(settings: Settings, service: str) -> None:
    """Send every log record to standard error, one line each, as text or as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(service) if settings.log_json else _Text(service))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    for chatty in ("pika", "httpx", "httpcore", "uvicorn.error", "fsspec", "botocore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class _Text(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__(
            f"%(asctime)s.%(msecs)03dZ {service:<15} %(levelname)-7s %(message)s",
            "%Y-%m-%dT%H:%M:%S",
        )
        self.converter = time.gmtime


class _Json(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def continue_trace(header: str | None) -> str:
    """Return a W3C ``traceparent``: a child of the given one if it is well formed, else a new one.

    Source: W3C Trace Context, https://www.w3.org/TR/trace-context/.
    """
    span = secrets.token_hex(8)
    if header and _TRACEPARENT.match(header):
        return f"{header[:36]}{span}{header[52:]}"
    return f"00-{secrets.token_hex(16)}-{span}-01"
