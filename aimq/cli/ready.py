"""Waits for the three services to be ready."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from aimq.settings import Settings


def wait_until_ready(settings: Settings, give_up: Callable[[], bool], pause: float = 0.1) -> bool:
    """Block until every service answers its readiness probe.

    Args:
        give_up: asked before every look; once true the wait ends and False is returned.
        pause: seconds between looks.
    """
    metrics = f"http://{settings.metrics_host}:{settings.metrics_port}"
    with httpx.Client(timeout=2.0) as http:
        for url in (settings.ml_url, metrics, settings.interface_url):
            while not _ready(http, f"{url}/health/ready"):
                if give_up():
                    return False
                time.sleep(pause)
    return True


def _ready(http: httpx.Client, url: str) -> bool:
    try:
        return http.get(url).is_success
    except httpx.TransportError:
        return False
