"""What the endpoints share."""

from __future__ import annotations

from dataclasses import dataclass

from aimq.http.threads import ThreadPool
from aimq.settings import Settings
from ml_service.admission import Admission
from ml_service.catalogue import Catalogue
from ml_service.metrics import ServiceMetrics
from ml_service.rate_limit import RateLimit


@dataclass(frozen=True, kw_only=True)
class ServiceContext:
    """One per application and event loop.

    Attributes:
        threads: where everything runs that would hold the event loop up.
    """

    settings: Settings
    catalogue: Catalogue
    metrics: ServiceMetrics
    rate: RateLimit
    admission: Admission
    threads: ThreadPool
