"""The task queues of the studies, ours among them, each behind the same few lines.

=========== ===================================================================================
`drive`     submits tasks to one queue on command and says when their results are stored
`workers`   starts the two worker processes of one queue
`ours`      broker and job store of AIMQ, with the batch processor's consumer as the worker
`celery_queue`, `dramatiq_queue`, `taskiq_queue`
            the others, each with publisher confirms, durable queues, acks after the work, and
            results in Redis
=========== ===================================================================================

The rivals need a newer Redis client than AIMQ: they run in an environment of their own
(``requirements/bench.lock``), so that nothing here but `ours` imports anything of AIMQ's.
"""
