-- Ids of deleted jobs, kept until the jobs would have expired.
CREATE TABLE tombstone (job_id TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX tombstone_expires ON tombstone (expires_at);
