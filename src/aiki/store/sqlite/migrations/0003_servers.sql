-- What servers that others reach need: presence, retention by namespace, answers to bulk calls.

ALTER TABLE worker ADD COLUMN presence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE worker ADD COLUMN suspect_since INTEGER;
ALTER TABLE namespace ADD COLUMN retention_ms INTEGER;

CREATE TABLE answer (
    namespace TEXT NOT NULL,
    command_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    answer BLOB NOT NULL,
    PRIMARY KEY (namespace, command_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX answer_at ON answer (at);

DROP INDEX run_ended;
CREATE INDEX run_ended ON run (namespace, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX run_newest ON run (namespace, id);
CREATE INDEX run_workflow ON run (namespace, workflow, id);
CREATE INDEX run_open ON run (namespace, id) WHERE ended_at IS NULL;
CREATE INDEX run_failed ON run (namespace, id) WHERE status IN ('failed', 'cancelled');
CREATE INDEX run_parent ON run (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX transition_at ON transition (at);
