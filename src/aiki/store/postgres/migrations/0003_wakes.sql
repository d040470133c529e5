-- What is due at the same instant is woken in the order of ids, out of the index alone.

DROP INDEX run_wake;
CREATE INDEX run_wake ON run (wake_at, id) WHERE wake_at IS NOT NULL;
