"""What a queue does to latency: the asynchronous endpoints beside synchronous and rival ones.

=============== ==================================================================================
`stage`         private RabbitMQ and Redis, and the services on them
`latency`       first response and time to result, by number of clients
`bursts`        100 tasks at once, to 1, 2 and 4 workers
`predictions`   1,000 predictions over HTTP, ours and through FastAPI and Celery
`push`          from stored result to WebSocket message
`clients`       HTTP clients, and `watchers` WebSockets, that cost little beside what is measured
=============== ==================================================================================
"""
