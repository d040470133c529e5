-- Runs, their records, the work that is ready, and who works. Texts compare by their bytes.

CREATE TABLE clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    offset_ms BIGINT NOT NULL
);

INSERT INTO clock (one, offset_ms) VALUES (1, 0);

CREATE FUNCTION aiki_now() RETURNS BIGINT LANGUAGE sql VOLATILE AS $$
    SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
           + (SELECT offset_ms FROM clock WHERE one = 1)
$$;

CREATE FUNCTION aiki_presence_key(incarnation TEXT) RETURNS BIGINT LANGUAGE sql STABLE AS $$
    SELECT hashtextextended(current_schema() || ' ' || incarnation, 0)
$$;

CREATE TABLE namespace (
    name TEXT COLLATE "C" PRIMARY KEY,
    created_at BIGINT NOT NULL,
    retention_ms BIGINT
);

CREATE TABLE workflow_version (
    namespace TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT COLLATE "C" NOT NULL,
    spec BYTEA NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (namespace, name, version)
);

CREATE TABLE run (
    id TEXT COLLATE "C" PRIMARY KEY,
    namespace TEXT COLLATE "C" NOT NULL,
    workflow TEXT COLLATE "C" NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    shard TEXT COLLATE "C" NOT NULL,
    priority INTEGER NOT NULL,
    reference_id TEXT COLLATE "C",
    parent_id TEXT COLLATE "C",
    parent_attempt INTEGER NOT NULL,
    digest TEXT NOT NULL,
    options BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    revision INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    holder TEXT COLLATE "C",
    claim_id TEXT COLLATE "C",
    losses INTEGER NOT NULL,
    alone_losses INTEGER NOT NULL,
    pause_requested BOOLEAN NOT NULL,
    stop_cause TEXT COLLATE "C",
    stop_delivered BOOLEAN NOT NULL,
    retry_pending BOOLEAN NOT NULL,
    due_at BIGINT,
    deadline_at BIGINT,
    grace_until BIGINT,
    started_at BIGINT,
    ended_at BIGINT,
    command_id TEXT COLLATE "C",
    fingerprint TEXT COLLATE "C",
    wake_at BIGINT
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX run_reference ON run (namespace, workflow, reference_id)
    WHERE reference_id IS NOT NULL;
CREATE INDEX run_wake ON run (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX run_held ON run (holder, claim_id) WHERE status = 'running';
CREATE INDEX run_diverged ON run (namespace, workflow, version) WHERE status = 'diverged';
CREATE INDEX run_ended ON run (namespace, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX run_newest ON run (namespace, id);
CREATE INDEX run_workflow ON run (namespace, workflow, id);
CREATE INDEX run_open ON run (namespace, id) WHERE ended_at IS NULL;
CREATE INDEX run_failed ON run (namespace, id) WHERE status IN ('failed', 'cancelled');
CREATE INDEX run_parent ON run (parent_id, id) WHERE parent_id IS NOT NULL;

CREATE TABLE run_payload (
    run_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    value BYTEA NOT NULL,
    PRIMARY KEY (run_id, kind)
);

-- Rows come and go: what is dead at the front of the queue must not pile up.
CREATE TABLE outbox (
    run_id TEXT COLLATE "C" PRIMARY KEY,
    namespace TEXT COLLATE "C" NOT NULL,
    workflow TEXT COLLATE "C" NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    shard TEXT COLLATE "C" NOT NULL,
    priority INTEGER NOT NULL,
    ready_at BIGINT NOT NULL,
    alone BOOLEAN NOT NULL,
    fingerprint TEXT COLLATE "C",
    prefers TEXT COLLATE "C",
    status TEXT COLLATE "C" NOT NULL DEFAULT 'pending',
    published_at BIGINT,
    publications INTEGER NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);

CREATE INDEX outbox_ready
    ON outbox (namespace, workflow, version, shard, alone, priority DESC, ready_at, run_id);
CREATE INDEX outbox_offered ON outbox (namespace, workflow, version)
    WHERE fingerprint IS NOT NULL;

CREATE TABLE entry (
    run_id TEXT COLLATE "C" NOT NULL,
    attempt INTEGER NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    ordinal INTEGER NOT NULL,
    at BIGINT NOT NULL,
    name TEXT NOT NULL,
    value BYTEA,
    failure BYTEA,
    fact_id TEXT COLLATE "C",
    due_at BIGINT,
    task_attempt INTEGER NOT NULL,
    started_at BIGINT,
    epoch INTEGER NOT NULL,
    arguments BYTEA,
    PRIMARY KEY (run_id, attempt, number)
);

CREATE TABLE task_attempt (
    run_id TEXT COLLATE "C" NOT NULL,
    attempt INTEGER NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    ordinal INTEGER NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    due_at BIGINT,
    failure BYTEA,
    epoch INTEGER NOT NULL,
    at_most_once BOOLEAN NOT NULL,
    PRIMARY KEY (run_id, attempt, address, ordinal, number)
) WITH (fillfactor = 85);

CREATE TABLE wait (
    run_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    due_at BIGINT,
    PRIMARY KEY (run_id, kind, name)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE fact (
    id TEXT COLLATE "C" PRIMARY KEY,
    run_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    value BYTEA,
    failure BYTEA,
    key TEXT COLLATE "C",
    consumed_by INTEGER,
    consumed_attempt INTEGER
);

CREATE INDEX fact_open ON fact (run_id, at) WHERE consumed_by IS NULL;
CREATE INDEX fact_run ON fact (run_id);
CREATE UNIQUE INDEX fact_key ON fact (run_id, name, key) WHERE key IS NOT NULL;

CREATE TABLE child (
    parent_id TEXT COLLATE "C" NOT NULL,
    parent_attempt INTEGER NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    child_id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (parent_id, parent_attempt, key)
);

CREATE TABLE transition (
    run_id TEXT COLLATE "C" NOT NULL,
    revision INTEGER NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    attempt INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    worker TEXT COLLATE "C",
    PRIMARY KEY (run_id, revision)
);

CREATE INDEX transition_at ON transition (at);

CREATE TABLE decision (
    run_id TEXT COLLATE "C" NOT NULL,
    attempt INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    decision BYTEA NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (run_id, attempt, sequence)
);

CREATE TABLE divergence (
    run_id TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    divergence BYTEA NOT NULL,
    PRIMARY KEY (run_id, fingerprint)
);

-- A heartbeat changes no indexed column, and finds room on its page.
CREATE TABLE worker (
    incarnation TEXT COLLATE "C" PRIMARY KEY,
    namespace TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    lease_ms BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    registered_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    offers BYTEA NOT NULL,
    shards BYTEA NOT NULL,
    stuck BYTEA NOT NULL,
    presence BIGINT NOT NULL DEFAULT 0,
    suspect_since BIGINT
) WITH (fillfactor = 50);

CREATE INDEX worker_alive ON worker (incarnation) WHERE status = 'alive';
CREATE INDEX worker_namespace ON worker (namespace);

-- Incarnations whose process holds, or held, an advisory lock: only these can be known to be dead.
CREATE TABLE announced (
    incarnation TEXT COLLATE "C" PRIMARY KEY,
    at BIGINT NOT NULL
);

CREATE TABLE dead_letter (
    id TEXT COLLATE "C" PRIMARY KEY,
    namespace TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C",
    reason TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    detail TEXT NOT NULL
);

CREATE INDEX dead_letter_newest ON dead_letter (namespace, id);

CREATE TABLE answer (
    namespace TEXT COLLATE "C" NOT NULL,
    command_id TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    answer BYTEA NOT NULL,
    PRIMARY KEY (namespace, command_id)
);

CREATE INDEX answer_at ON answer (at);

CREATE TABLE audit (
    id TEXT COLLATE "C" PRIMARY KEY,
    at BIGINT NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    principal TEXT COLLATE "C" NOT NULL,
    operation TEXT COLLATE "C" NOT NULL,
    object_id TEXT COLLATE "C" NOT NULL,
    detail TEXT NOT NULL
);

CREATE FUNCTION aiki_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% are never changed', TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER transition_is_append_only BEFORE UPDATE ON transition
    FOR EACH ROW EXECUTE FUNCTION aiki_refuse_change('transitions');
CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
    FOR EACH ROW EXECUTE FUNCTION aiki_refuse_change('audit records');
CREATE TRIGGER entry_is_write_once BEFORE UPDATE ON entry
    FOR EACH ROW EXECUTE FUNCTION aiki_refuse_change('entries');
