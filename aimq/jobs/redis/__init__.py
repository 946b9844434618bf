"""The JobStore port on Redis."""

from aimq.jobs.redis.store import RedisStore

__all__ = ["RedisStore"]
