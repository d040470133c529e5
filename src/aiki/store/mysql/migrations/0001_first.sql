-- Runs, their records, the work that is ready, and who works.
--
-- Texts are VARBINARY, so that they compare by their bytes: 200 for ids that Aiki makes, 800 for
-- names of at most 200 characters, 1200 for what is made of a name and a hash; those that are only
-- looked at are LONGTEXT. Every statement may be executed again: the server commits each by itself.

-- clock --
CREATE TABLE IF NOT EXISTS clock (
    one INT PRIMARY KEY,
    offset_ms BIGINT NOT NULL
) ENGINE = InnoDB;

-- clock_row --
INSERT INTO clock (one, offset_ms) VALUES (1, 0) ON DUPLICATE KEY UPDATE one = VALUES(one);

-- namespace --
CREATE TABLE IF NOT EXISTS namespace (
    name VARBINARY(800) PRIMARY KEY,
    created_at BIGINT NOT NULL,
    retention_ms BIGINT
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- workflow_version --
CREATE TABLE IF NOT EXISTS workflow_version (
    namespace VARBINARY(800) NOT NULL,
    name VARBINARY(800) NOT NULL,
    version VARBINARY(800) NOT NULL,
    fingerprint VARBINARY(200) NOT NULL,
    spec LONGBLOB NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (namespace, name, version)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- run --
-- What other databases index in part has a column here that is NULL, or the same, for all others.
CREATE TABLE IF NOT EXISTS run (
    id VARBINARY(200) PRIMARY KEY,
    namespace VARBINARY(800) NOT NULL,
    workflow VARBINARY(800) NOT NULL,
    version VARBINARY(800) NOT NULL,
    shard VARBINARY(800) NOT NULL,
    priority INT NOT NULL,
    reference_id VARBINARY(800),
    parent_id VARBINARY(200),
    parent_attempt INT NOT NULL,
    digest VARBINARY(200) NOT NULL,
    options LONGBLOB NOT NULL,
    created_at BIGINT NOT NULL,
    status VARBINARY(20) NOT NULL,
    revision INT NOT NULL,
    attempt INT NOT NULL,
    epoch INT NOT NULL,
    holder VARBINARY(800),
    claim_id VARBINARY(800),
    losses INT NOT NULL,
    alone_losses INT NOT NULL,
    pause_requested BOOLEAN NOT NULL,
    stop_cause VARBINARY(20),
    stop_delivered BOOLEAN NOT NULL,
    retry_pending BOOLEAN NOT NULL,
    due_at BIGINT,
    deadline_at BIGINT,
    grace_until BIGINT,
    started_at BIGINT,
    ended_at BIGINT,
    command_id VARBINARY(800),
    fingerprint VARBINARY(200),
    wake_at BIGINT,
    held_by VARBINARY(800) AS (CASE WHEN status = 'running' THEN COALESCE(holder, '') END) STORED,
    diverged_workflow VARBINARY(800) AS (CASE WHEN status = 'diverged' THEN workflow END) STORED,
    phase TINYINT AS (CASE WHEN status IN ('failed', 'cancelled') THEN 1
                           WHEN ended_at IS NULL THEN 0 ELSE 2 END) STORED,
    UNIQUE KEY run_reference (namespace, workflow, reference_id),
    KEY run_wake (wake_at),
    KEY run_held (held_by, claim_id),
    KEY run_diverged (diverged_workflow, version),
    KEY run_ended (namespace, ended_at),
    KEY run_newest (namespace, id),
    KEY run_workflow (namespace, workflow, id),
    KEY run_phase (namespace, phase, id),
    KEY run_parent (parent_id, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- run_payload --
CREATE TABLE IF NOT EXISTS run_payload (
    run_id VARBINARY(200) NOT NULL,
    kind VARBINARY(20) NOT NULL,
    value LONGBLOB NOT NULL,
    PRIMARY KEY (run_id, kind)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- outbox --
-- A queue's four names would be too long for an index: it has their hash. The greatest priority is
-- the least urgency, so that the index is read in its own order; claims read nothing else.
CREATE TABLE IF NOT EXISTS outbox (
    run_id VARBINARY(200) PRIMARY KEY,
    namespace VARBINARY(800) NOT NULL,
    workflow VARBINARY(800) NOT NULL,
    version VARBINARY(800) NOT NULL,
    shard VARBINARY(800) NOT NULL,
    priority INT NOT NULL,
    ready_at BIGINT NOT NULL,
    alone BOOLEAN NOT NULL,
    fingerprint VARBINARY(200),
    prefers VARBINARY(200),
    status VARBINARY(20) NOT NULL DEFAULT 'pending',
    published_at BIGINT,
    publications INT NOT NULL DEFAULT 0,
    queue BINARY(32) NOT NULL,
    urgency INT AS (-priority) STORED,
    KEY outbox_ready (queue, alone, urgency, ready_at, run_id, fingerprint, prefers),
    KEY outbox_offered (namespace, workflow, version),
    KEY outbox_stale (ready_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- entry --
CREATE TABLE IF NOT EXISTS entry (
    run_id VARBINARY(200) NOT NULL,
    attempt INT NOT NULL,
    number INT NOT NULL,
    kind VARBINARY(20) NOT NULL,
    address VARBINARY(1200) NOT NULL,
    ordinal INT NOT NULL,
    at BIGINT NOT NULL,
    name VARBINARY(1200) NOT NULL,
    value LONGBLOB,
    failure LONGBLOB,
    fact_id VARBINARY(200),
    due_at BIGINT,
    task_attempt INT NOT NULL,
    started_at BIGINT,
    epoch INT NOT NULL,
    arguments LONGBLOB,
    PRIMARY KEY (run_id, attempt, number)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- task_attempt --
CREATE TABLE IF NOT EXISTS task_attempt (
    run_id VARBINARY(200) NOT NULL,
    attempt INT NOT NULL,
    address VARBINARY(1200) NOT NULL,
    ordinal INT NOT NULL,
    number INT NOT NULL,
    name VARBINARY(1200) NOT NULL,
    status VARBINARY(20) NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    due_at BIGINT,
    failure LONGBLOB,
    epoch INT NOT NULL,
    at_most_once BOOLEAN NOT NULL,
    PRIMARY KEY (run_id, attempt, address, ordinal, number)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- wait --
CREATE TABLE IF NOT EXISTS wait (
    run_id VARBINARY(200) NOT NULL,
    kind VARBINARY(20) NOT NULL,
    name VARBINARY(1200) NOT NULL,
    due_at BIGINT,
    PRIMARY KEY (run_id, kind, name)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- fact --
CREATE TABLE IF NOT EXISTS fact (
    id VARBINARY(200) PRIMARY KEY,
    run_id VARBINARY(200) NOT NULL,
    kind VARBINARY(20) NOT NULL,
    name VARBINARY(1200) NOT NULL,
    at BIGINT NOT NULL,
    value LONGBLOB,
    failure LONGBLOB,
    `key` VARBINARY(800),
    consumed_by INT,
    consumed_attempt INT,
    UNIQUE KEY fact_key (run_id, name, `key`),
    KEY fact_open (run_id, consumed_by, at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- child --
CREATE TABLE IF NOT EXISTS child (
    parent_id VARBINARY(200) NOT NULL,
    parent_attempt INT NOT NULL,
    `key` VARBINARY(1200) NOT NULL,
    child_id VARBINARY(200) NOT NULL,
    PRIMARY KEY (parent_id, parent_attempt, `key`)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- transition --
CREATE TABLE IF NOT EXISTS transition (
    run_id VARBINARY(200) NOT NULL,
    revision INT NOT NULL,
    status VARBINARY(20) NOT NULL,
    reason VARBINARY(800) NOT NULL,
    at BIGINT NOT NULL,
    attempt INT NOT NULL,
    epoch INT NOT NULL,
    worker VARBINARY(800),
    PRIMARY KEY (run_id, revision),
    KEY transition_at (at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- decision --
CREATE TABLE IF NOT EXISTS decision (
    run_id VARBINARY(200) NOT NULL,
    attempt INT NOT NULL,
    sequence INT NOT NULL,
    decision LONGBLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (run_id, attempt, sequence)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- divergence --
CREATE TABLE IF NOT EXISTS divergence (
    run_id VARBINARY(200) NOT NULL,
    fingerprint VARBINARY(200) NOT NULL,
    at BIGINT NOT NULL,
    divergence LONGBLOB NOT NULL,
    PRIMARY KEY (run_id, fingerprint)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- worker --
CREATE TABLE IF NOT EXISTS worker (
    incarnation VARBINARY(800) PRIMARY KEY,
    namespace VARBINARY(800) NOT NULL,
    name VARBINARY(800) NOT NULL,
    status VARBINARY(20) NOT NULL,
    lease_ms BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    registered_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    offers LONGBLOB NOT NULL,
    shards LONGBLOB NOT NULL,
    stuck LONGBLOB NOT NULL,
    presence BIGINT NOT NULL DEFAULT 0,
    suspect_since BIGINT,
    KEY worker_alive (status),
    KEY worker_namespace (namespace)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- announced --
-- Incarnations whose process holds, or held, a named lock on this server: only these can be known
-- to be dead.
CREATE TABLE IF NOT EXISTS announced (
    incarnation VARBINARY(800) PRIMARY KEY,
    server VARBINARY(800) NOT NULL,
    at BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- news --
-- How often each session told others of what it commits: a row of its own, so that none waits.
CREATE TABLE IF NOT EXISTS news (
    sender VARBINARY(200) PRIMARY KEY,
    ready BIGINT NOT NULL,
    runs BIGINT NOT NULL,
    facts BIGINT NOT NULL,
    at BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- dead_letter --
CREATE TABLE IF NOT EXISTS dead_letter (
    id VARBINARY(200) PRIMARY KEY,
    namespace VARBINARY(800) NOT NULL,
    run_id VARBINARY(200),
    reason VARBINARY(800) NOT NULL,
    at BIGINT NOT NULL,
    detail LONGTEXT NOT NULL,
    KEY dead_letter_newest (namespace, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- answer --
CREATE TABLE IF NOT EXISTS answer (
    namespace VARBINARY(800) NOT NULL,
    command_id VARBINARY(800) NOT NULL,
    at BIGINT NOT NULL,
    answer LONGBLOB NOT NULL,
    PRIMARY KEY (namespace, command_id),
    KEY answer_at (at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- audit --
CREATE TABLE IF NOT EXISTS audit (
    id VARBINARY(200) PRIMARY KEY,
    at BIGINT NOT NULL,
    namespace VARBINARY(800) NOT NULL,
    principal VARBINARY(800) NOT NULL,
    operation VARBINARY(200) NOT NULL,
    object_id VARBINARY(2000) NOT NULL,
    detail LONGTEXT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- transition_is_append_only --
DROP TRIGGER IF EXISTS transition_is_append_only;
CREATE TRIGGER transition_is_append_only BEFORE UPDATE ON transition FOR EACH ROW
SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'transitions are never changed';

-- audit_is_append_only --
DROP TRIGGER IF EXISTS audit_is_append_only;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit FOR EACH ROW
SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'audit records are never changed';

-- entry_is_write_once --
-- An entry that is reported again comes by here too, and changes nothing.
DROP TRIGGER IF EXISTS entry_is_write_once;
CREATE TRIGGER entry_is_write_once BEFORE UPDATE ON entry FOR EACH ROW
IF NOT (NEW.run_id = OLD.run_id AND NEW.attempt = OLD.attempt AND NEW.number = OLD.number
        AND NEW.kind = OLD.kind AND NEW.address = OLD.address AND NEW.ordinal = OLD.ordinal
        AND NEW.at = OLD.at AND NEW.name = OLD.name AND NEW.value <=> OLD.value
        AND NEW.failure <=> OLD.failure AND NEW.fact_id <=> OLD.fact_id
        AND NEW.due_at <=> OLD.due_at AND NEW.task_attempt = OLD.task_attempt
        AND NEW.started_at <=> OLD.started_at AND NEW.epoch = OLD.epoch
        AND NEW.arguments <=> OLD.arguments) THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'entries are never changed';
END IF;
