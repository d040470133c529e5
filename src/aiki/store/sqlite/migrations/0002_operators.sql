-- What operators look at: dead letters and the audit; records that nothing may change.

CREATE TABLE dead_letter (
    id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    run_id TEXT,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    principal TEXT NOT NULL,
    operation TEXT NOT NULL,
    object_id TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER transition_is_append_only BEFORE UPDATE ON transition
BEGIN SELECT RAISE(ABORT, 'transitions are never changed'); END;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'audit records are never changed'); END;
CREATE TRIGGER entry_is_write_once BEFORE UPDATE ON entry
BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END;
