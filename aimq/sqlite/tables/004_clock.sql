-- What the processes of one start of the machine add to its monotonic clock: see aimq.sqlite.clock.
CREATE TABLE clock (start TEXT PRIMARY KEY, offset_us INTEGER NOT NULL) WITHOUT ROWID;
