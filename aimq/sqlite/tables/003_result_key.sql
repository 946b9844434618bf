-- Key of the file that holds a job's result; empty for jobs of earlier versions.
ALTER TABLE job ADD COLUMN result_key TEXT NOT NULL DEFAULT '';
