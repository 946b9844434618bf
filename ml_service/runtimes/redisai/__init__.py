"""Models executed by a RedisAI server."""
