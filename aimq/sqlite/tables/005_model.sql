-- Which model scores a job, empty for the default; per cent of its prediction intervals, 0 for none.
ALTER TABLE job ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN interval INTEGER NOT NULL DEFAULT 0;
