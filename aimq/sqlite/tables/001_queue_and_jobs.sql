-- Times are whole microseconds since 1970, UTC.

-- Numbers given out in order: places in the queues, changes of jobs.
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES ('position', 0), ('change', 0);

-- Loopback ports that are told of changes (aimq.sqlite.notifier).
CREATE TABLE listener (
    port INTEGER NOT NULL,
    topic TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (topic, port)
) WITHOUT ROWID;

-- One row per message, whatever its state.
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,       -- READY, HELD, DELAYED, DEAD (aimq.broker.sqlite.queue_table)
    position INTEGER NOT NULL,              -- order among the ready; kept while held
    due_at INTEGER NOT NULL DEFAULT 0,      -- held: end of the lease; delayed: when it becomes ready
    delivery INTEGER NOT NULL DEFAULT 0,    -- latest delivery; an earlier one cannot be settled
    lost INTEGER NOT NULL DEFAULT 0,        -- deliveries in a row that ended with the consumer's death
    attempts INTEGER NOT NULL DEFAULT 0,
    message_id TEXT NOT NULL,
    first_failed_at INTEGER,
    last_failed_at INTEGER,
    error TEXT,
    error_type TEXT,
    traceback TEXT,
    unprocessable INTEGER NOT NULL DEFAULT 0,
    history TEXT,
    body BLOB NOT NULL
);
CREATE INDEX message_ready ON message (queue, position) WHERE state = 0;
CREATE INDEX message_due ON message (queue, due_at) WHERE state IN (1, 2);
CREATE INDEX message_dead ON message (queue, last_failed_at) WHERE state = 3;

-- One row per job (aimq.jobs.job.Job, a column per field) with its claim.
CREATE TABLE job (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    filename TEXT NOT NULL,
    status TEXT NOT NULL,
    rows_total INTEGER,
    rows_done INTEGER NOT NULL,
    rows_failed INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT,
    model_versions TEXT NOT NULL,           -- JSON
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    published INTEGER NOT NULL,
    traceparent TEXT NOT NULL,
    callback_url TEXT NOT NULL,
    change INTEGER NOT NULL,                -- number of its latest change, for watches
    token TEXT,                             -- of the claim, NULL when it is free
    owner TEXT,
    lease_until INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    swept_until INTEGER NOT NULL DEFAULT 0, -- a sweep has it until then
    idempotency_key TEXT,
    input BLOB NOT NULL,
    result BLOB NOT NULL
);
CREATE INDEX job_created ON job (created_at);
CREATE INDEX job_status ON job (status, created_at);
CREATE INDEX job_change ON job (change);
CREATE INDEX job_unpublished ON job (created_at) WHERE published = 0 AND status = 'queued';
CREATE UNIQUE INDEX job_idempotency_key ON job (idempotency_key) WHERE idempotency_key IS NOT NULL;
