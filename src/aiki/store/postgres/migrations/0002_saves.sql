-- What a transaction decided is saved by two functions, in one round trip: each part takes its
-- rows as arrays of columns, and is passed over where they are NULL. (One statement of many
-- data-modifying WITH parts starts every part, and took four times as long.)
--
-- A LIMIT of unknown size makes the planner expect few rows, and look the others up by their keys,
-- even where it plans while the tables are empty.
--
-- A function that changes gets a new name: servers of the version before still call the old one.

CREATE FUNCTION aiki_save_runs(
    -- 1: insert_runs
    text[], text[], text[], text[], text[], int[], text[], text[], int[], text[], bytea[], bigint[],
    text[], int[], int[], int[], text[], text[], int[], int[], bool[], text[], bool[], bool[],
    bigint[], bigint[], bigint[], bigint[], bigint[], text[], text[], bigint[],
    -- 33: update_states
    text[],
    text[], int[], int[], int[], text[], text[], int[], int[], bool[], text[], bool[], bool[],
    bigint[], bigint[], bigint[], bigint[], bigint[], text[], text[], bigint[],
    -- 54: insert_transitions
    text[], int[], text[], text[], bigint[], int[], int[], text[],
    -- 62: insert_payloads
    text[], text[], bytea[],
    -- 65: delete_outbox
    text[],
    -- 66: insert_outbox
    text[], text[], text[], text[], text[], int[], bigint[], bool[], text[], text[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF $1 IS NOT NULL THEN
        INSERT INTO run (id, namespace, workflow, version, shard, priority, reference_id, parent_id,
                         parent_attempt, digest, options, created_at, status, revision, attempt,
                         epoch, holder, claim_id, losses, alone_losses, pause_requested, stop_cause,
                         stop_delivered, retry_pending, due_at, deadline_at, grace_until,
                         started_at, ended_at, command_id, fingerprint, wake_at)
        SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
                             $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30,
                             $31, $32);
    END IF;
    IF $33 IS NOT NULL THEN
        UPDATE run SET
            status = u.status, revision = u.revision, attempt = u.attempt, epoch = u.epoch,
            holder = u.holder, claim_id = u.claim_id, losses = u.losses,
            alone_losses = u.alone_losses, pause_requested = u.pause_requested,
            stop_cause = u.stop_cause, stop_delivered = u.stop_delivered,
            retry_pending = u.retry_pending, due_at = u.due_at, deadline_at = u.deadline_at,
            grace_until = u.grace_until, started_at = u.started_at, ended_at = u.ended_at,
            command_id = u.command_id, fingerprint = u.fingerprint, wake_at = u.wake_at
        FROM (SELECT * FROM unnest($33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45,
                                   $46, $47, $48, $49, $50, $51, $52, $53) LIMIT cardinality($33))
             AS u (id, status, revision, attempt, epoch, holder, claim_id, losses, alone_losses,
                   pause_requested, stop_cause, stop_delivered, retry_pending, due_at, deadline_at,
                   grace_until, started_at, ended_at, command_id, fingerprint, wake_at)
        WHERE run.id = u.id;
    END IF;
    IF $54 IS NOT NULL THEN
        INSERT INTO transition (run_id, revision, status, reason, at, attempt, epoch, worker)
        SELECT * FROM unnest($54, $55, $56, $57, $58, $59, $60, $61);
    END IF;
    IF $62 IS NOT NULL THEN
        INSERT INTO run_payload (run_id, kind, value) SELECT * FROM unnest($62, $63, $64)
        ON CONFLICT (run_id, kind) DO UPDATE SET value = excluded.value;
    END IF;
    IF $65 IS NOT NULL THEN
        DELETE FROM outbox WHERE run_id = ANY ($65);
    END IF;
    IF $66 IS NOT NULL THEN
        INSERT INTO outbox (run_id, namespace, workflow, version, shard, priority, ready_at, alone,
                            fingerprint, prefers)
        SELECT * FROM unnest($66, $67, $68, $69, $70, $71, $72, $73, $74, $75);
    END IF;
END $$;

CREATE FUNCTION aiki_save_records(
    -- 1: insert_entries
    text[], int[], int[], text[], text[], int[], bigint[], text[], bytea[], bytea[], text[],
    bigint[], int[], bigint[], int[], bytea[],
    -- 17: save_attempts
    text[], int[], text[], int[], int[], text[], text[], bigint[], bigint[], bigint[], bytea[],
    int[], bool[],
    -- 30: close_attempts
    text[], text, bigint,
    -- 33: insert_facts
    text[], text[], text[], text[], bigint[], bytea[], bytea[], text[],
    -- 41: consume_facts
    int[], int[], text[], text[],
    -- 45: replace_waits: of these runs, by these
    text[], text[], text[], text[], bigint[],
    -- 50: insert_children
    text[], int[], text[], text[],
    -- 54: insert_audit
    text[], bigint[], text[], text[], text[], text[], text[],
    -- 61: insert_dead_letters
    text[], text[], text[], text[], bigint[], text[],
    -- 67: save_answer
    text[], text[], bytea[], bigint[],
    -- 71: signal: channel and message
    text, text
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF $1 IS NOT NULL THEN
        -- The same number again is the same entry, reported twice.
        INSERT INTO entry (run_id, attempt, number, kind, address, ordinal, at, name, value,
                           failure, fact_id, due_at, task_attempt, started_at, epoch, arguments)
        SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
        ON CONFLICT (run_id, attempt, number) DO NOTHING;
    END IF;
    IF $17 IS NOT NULL THEN
        -- A terminal attempt stays as it is.
        INSERT INTO task_attempt (run_id, attempt, address, ordinal, number, name, status,
                                  started_at, ended_at, due_at, failure, epoch, at_most_once)
        SELECT * FROM unnest($17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29)
        ON CONFLICT (run_id, attempt, address, ordinal, number) DO UPDATE
        SET status = excluded.status, ended_at = excluded.ended_at, due_at = excluded.due_at,
            failure = excluded.failure
        WHERE task_attempt.status = 'running';
    END IF;
    IF $30 IS NOT NULL THEN
        UPDATE task_attempt SET status = $31, ended_at = $32
        WHERE run_id = ANY ($30) AND status = 'running';
    END IF;
    IF $33 IS NOT NULL THEN
        INSERT INTO fact (id, run_id, kind, name, at, value, failure, key)
        SELECT * FROM unnest($33, $34, $35, $36, $37, $38, $39, $40);
    END IF;
    IF $41 IS NOT NULL THEN
        UPDATE fact SET consumed_by = c.number, consumed_attempt = c.attempt
        FROM (SELECT * FROM unnest($41, $42, $43, $44) LIMIT cardinality($43))
             AS c (number, attempt, id, run_id)
        WHERE fact.id = c.id AND fact.run_id = c.run_id AND coalesce(fact.consumed_by, 0) = 0;
    END IF;
    IF $45 IS NOT NULL THEN
        DELETE FROM wait WHERE run_id = ANY ($45);
        INSERT INTO wait (run_id, kind, name, due_at) SELECT * FROM unnest($46, $47, $48, $49);
    END IF;
    IF $50 IS NOT NULL THEN
        INSERT INTO child (parent_id, parent_attempt, key, child_id)
        SELECT * FROM unnest($50, $51, $52, $53)
        ON CONFLICT (parent_id, parent_attempt, key) DO NOTHING;
    END IF;
    IF $54 IS NOT NULL THEN
        INSERT INTO audit (id, at, namespace, principal, operation, object_id, detail)
        SELECT * FROM unnest($54, $55, $56, $57, $58, $59, $60);
    END IF;
    IF $61 IS NOT NULL THEN
        INSERT INTO dead_letter (id, namespace, run_id, reason, at, detail)
        SELECT * FROM unnest($61, $62, $63, $64, $65, $66);
    END IF;
    IF $67 IS NOT NULL THEN
        INSERT INTO answer (namespace, command_id, answer, at)
        SELECT * FROM unnest($67, $68, $69, $70);
    END IF;
    IF $72 IS NOT NULL THEN
        PERFORM pg_notify($71, $72);
    END IF;
END $$;

-- Raises the error of a conflict unless these runs are still as they were read, and keeps them so
-- until the transaction ends. Every change of a row gives it another xmin.
CREATE FUNCTION aiki_guard(ids text[], versions text[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM run WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE;
    PERFORM 1
    FROM (SELECT * FROM unnest(ids, versions) LIMIT cardinality(ids)) AS g (id, version)
    LEFT JOIN run ON run.id = g.id
    WHERE run.xmin::text IS DISTINCT FROM g.version;
    IF FOUND THEN
        RAISE EXCEPTION 'a run was changed meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN true;
END $$;
