"""Chooses the JobStore adapter by URL scheme."""

from __future__ import annotations

from aimq.errors import SettingsError
from aimq.jobs.port import JobStore
from aimq.settings import Settings


def connect_store(settings: Settings) -> JobStore:
    """Return the job store that ``AIMQ_STORE_URL`` names.

    Raises:
        SettingsError: the scheme is none of ours, or the URL is malformed.
    """
    scheme = settings.store_url.partition("://")[0]
    # Each adapter is imported only where it is chosen: its library takes time to load.
    if scheme == "sqlite":
        from aimq.jobs.sqlite import SqliteStore  # noqa: PLC0415

        return SqliteStore(settings)
    if scheme in {"redis", "rediss", "redis+sentinel"}:
        from aimq.jobs.redis.store import RedisStore  # noqa: PLC0415

        return RedisStore(settings)
    raise SettingsError(
        f"AIMQ_STORE_URL: scheme {scheme[:20]!r} is not known; use sqlite:///path, "
        "redis://host:6379/0, rediss://host:6379/0 or redis+sentinel://host:26379/mymaster/0"
    )
