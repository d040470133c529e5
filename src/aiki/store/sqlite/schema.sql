-- The schema of a fresh database; migrations lead an older one to the same.

CREATE TABLE schema_migration (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;

CREATE TABLE clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    now_ms INTEGER NOT NULL,
    offset_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE namespace (
    name TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    retention_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE workflow_version (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    spec BLOB NOT NULL,
    first_seen_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    shard TEXT NOT NULL,
    priority INTEGER NOT NULL,
    reference_id TEXT,
    parent_id TEXT,
    parent_attempt INTEGER NOT NULL,
    digest TEXT NOT NULL,
    options BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    status TEXT NOT NULL,
    revision INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    holder TEXT,
    claim_id TEXT,
    losses INTEGER NOT NULL,
    alone_losses INTEGER NOT NULL,
    pause_requested INTEGER NOT NULL,
    stop_cause TEXT,
    stop_delivered INTEGER NOT NULL,
    retry_pending INTEGER NOT NULL,
    due_at INTEGER,
    deadline_at INTEGER,
    grace_until INTEGER,
    started_at INTEGER,
    ended_at INTEGER,
    command_id TEXT,
    fingerprint TEXT,
    wake_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX run_reference ON run (namespace, workflow, reference_id)
    WHERE reference_id IS NOT NULL;
CREATE INDEX run_wake ON run (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX run_held ON run (holder) WHERE status = 'running';
CREATE INDEX run_diverged ON run (namespace, workflow, version) WHERE status = 'diverged';
CREATE INDEX run_ended ON run (namespace, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX run_newest ON run (namespace, id);
CREATE INDEX run_workflow ON run (namespace, workflow, id);
CREATE INDEX run_open ON run (namespace, id) WHERE ended_at IS NULL;
CREATE INDEX run_failed ON run (namespace, id) WHERE status IN ('failed', 'cancelled');
CREATE INDEX run_parent ON run (parent_id, id) WHERE parent_id IS NOT NULL;

CREATE TABLE run_payload (
    run_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (run_id, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    run_id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    shard TEXT NOT NULL,
    priority INTEGER NOT NULL,
    ready_at INTEGER NOT NULL,
    alone INTEGER NOT NULL,
    fingerprint TEXT,
    prefers TEXT,
    status TEXT NOT NULL DEFAULT 'pending',
    published_at INTEGER,
    publications INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_ready
    ON outbox (namespace, workflow, version, shard, alone, priority DESC, ready_at, run_id);
CREATE INDEX outbox_offered ON outbox (namespace, workflow, version)
    WHERE fingerprint IS NOT NULL;

-- Where the messages went that announced ready runs; of use as long as the outbox has their rows.
CREATE TABLE publication (
    run_id TEXT PRIMARY KEY,
    ready_at INTEGER NOT NULL,
    entry TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    published_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What one server at a time does for all: who does it, and until when unless it says so again.
CREATE TABLE duty (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    held_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who comes after whom: of the runs of a line, all of one ordering key, only the first is executed.
CREATE TABLE ordering_line (
    id TEXT PRIMARY KEY,
    last_sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE ordering_turn (
    run_id TEXT PRIMARY KEY,
    line TEXT NOT NULL,
    sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX ordering_turn_next ON ordering_turn (line, sequence);

CREATE TABLE entry (
    run_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    address TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    at INTEGER NOT NULL,
    name TEXT NOT NULL,
    value BLOB,
    failure BLOB,
    fact_id TEXT,
    due_at INTEGER,
    task_attempt INTEGER NOT NULL,
    started_at INTEGER,
    epoch INTEGER NOT NULL,
    arguments BLOB,
    PRIMARY KEY (run_id, attempt, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE task_attempt (
    run_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    address TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    due_at INTEGER,
    failure BLOB,
    epoch INTEGER NOT NULL,
    at_most_once INTEGER NOT NULL,
    PRIMARY KEY (run_id, attempt, address, ordinal, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE wait (
    run_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    due_at INTEGER,
    PRIMARY KEY (run_id, kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE fact (
    id TEXT PRIMARY KEY,
    run_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL,
    value BLOB,
    failure BLOB,
    key TEXT,
    consumed_by INTEGER,
    consumed_attempt INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX fact_open ON fact (run_id, at) WHERE consumed_by IS NULL;
CREATE INDEX fact_run ON fact (run_id);
CREATE UNIQUE INDEX fact_key ON fact (run_id, name, key) WHERE key IS NOT NULL;

CREATE TABLE child (
    parent_id TEXT NOT NULL,
    parent_attempt INTEGER NOT NULL,
    key TEXT NOT NULL,
    child_id TEXT NOT NULL,
    PRIMARY KEY (parent_id, parent_attempt, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE transition (
    run_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    worker TEXT,
    PRIMARY KEY (run_id, revision)
) STRICT, WITHOUT ROWID;

CREATE INDEX transition_at ON transition (at);

CREATE TABLE decision (
    run_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    decision BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (run_id, attempt, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE divergence (
    run_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    at INTEGER NOT NULL,
    divergence BLOB NOT NULL,
    PRIMARY KEY (run_id, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE TABLE worker (
    incarnation TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    lease_ms INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    registered_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    offers BLOB NOT NULL,
    shards BLOB NOT NULL,
    stuck BLOB NOT NULL,
    presence INTEGER NOT NULL DEFAULT 0,
    suspect_since INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX worker_alive ON worker (lease_until) WHERE status = 'alive';

CREATE TABLE dead_letter (
    id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    run_id TEXT,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX dead_letter_newest ON dead_letter (namespace, id);
CREATE INDEX dead_letter_run ON dead_letter (run_id, at);

CREATE TABLE answer (
    namespace TEXT NOT NULL,
    command_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    answer BLOB NOT NULL,
    PRIMARY KEY (namespace, command_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX answer_at ON answer (at);

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
