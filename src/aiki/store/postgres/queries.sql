-- A LATERAL part with OFFSET 0 fixes the order of a join: first what is asked for, then, by its
-- index, what belongs to it. Plans are kept, and may have been made when the tables were empty.

-- begin --
BEGIN ISOLATION LEVEL READ COMMITTED;

-- begin_read --
-- One snapshot for all that is read.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- commit --
COMMIT;

-- rollback --
ROLLBACK;

-- settle --
-- Settings for one transaction, where a pooler gives each to another session.
SELECT set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS setting (name, value);

-- where_am_i --
SELECT current_schema(), pg_backend_pid();

-- ping --
SELECT 1;

-- notify --
SELECT pg_notify($1, $2);

-- now --
SELECT aiki_now();

-- shift_clock --
UPDATE clock SET offset_ms = offset_ms + $1;

-- lock_runs --
-- Locked in the order of ids, so that no two transactions wait for each other. The instant is read
-- after the last lock: counting waits for all of them.
WITH locked AS MATERIALIZED (
    SELECT id, namespace, workflow, version, shard, priority, reference_id, parent_id,
           parent_attempt, digest, options, created_at,
           status, revision, attempt, epoch, holder, claim_id, losses, alone_losses,
           pause_requested, stop_cause, stop_delivered, retry_pending, due_at, deadline_at,
           grace_until, started_at, ended_at, command_id, fingerprint
    FROM run WHERE id = ANY ($1::text[]) ORDER BY id FOR UPDATE
), moment AS MATERIALIZED (
    SELECT aiki_now() AS now FROM (SELECT count(*) FROM locked) AS all_of_them
)
SELECT locked.*, moment.now FROM moment LEFT JOIN locked ON true;

-- guard_runs --
-- Not locked, but with the version of each row: `aiki_guard` tells whether it is still the same.
SELECT r.*, moment.now
FROM (SELECT aiki_now() AS now) AS moment
LEFT JOIN (
    SELECT id, namespace, workflow, version, shard, priority, reference_id, parent_id,
           parent_attempt, digest, options, created_at,
           status, revision, attempt, epoch, holder, claim_id, losses, alone_losses,
           pause_requested, stop_cause, stop_delivered, retry_pending, due_at, deadline_at,
           grace_until, started_at, ended_at, command_id, fingerprint, xmin::text
    FROM run WHERE id = ANY ($1::text[])) AS r ON true;

-- check_guards --
SELECT aiki_guard($1, $2);

-- peek_runs --
SELECT id, namespace, workflow, version, shard, priority, reference_id, parent_id, parent_attempt,
       digest, options, created_at,
       status, revision, attempt, epoch, holder, claim_id, losses, alone_losses, pause_requested,
       stop_cause, stop_delivered, retry_pending, due_at, deadline_at, grace_until, started_at,
       ended_at, command_id, fingerprint
FROM run WHERE id = ANY ($1::text[]);

-- find_references --
SELECT wanted.namespace, wanted.workflow, wanted.reference_id, r.id
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (namespace, workflow, reference_id)
CROSS JOIN LATERAL (
    SELECT id FROM run
    WHERE namespace = wanted.namespace AND workflow = wanted.workflow
      AND reference_id = wanted.reference_id OFFSET 0) AS r;

-- load_facts --
-- Only what nobody has taken, oldest first.
SELECT id, run_id, kind, name, at, value, failure, key
FROM fact WHERE run_id = ANY ($1::text[]) AND consumed_by IS NULL
ORDER BY run_id, at, id;

-- find_facts_by_key --
SELECT f.*
FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (run_id, name, key)
CROSS JOIN LATERAL (
    SELECT id, run_id, kind, name, at, value, failure, key FROM fact
    WHERE run_id = wanted.run_id AND name = wanted.name AND key = wanted.key OFFSET 0) AS f;

-- find_facts --
SELECT id, run_id, kind, name, at, value, failure, key FROM fact WHERE id = ANY ($1::text[]);

-- load_waits --
SELECT run_id, kind, name, due_at FROM wait
WHERE run_id = ANY ($1::text[]) ORDER BY run_id, due_at NULLS LAST;

-- descendants --
-- Unfinished children, their children, and so on.
WITH RECURSIVE below (id) AS (
    SELECT child_id FROM child WHERE parent_id = ANY ($1::text[])
    UNION
    SELECT c.child_id
    FROM below AS b
    CROSS JOIN LATERAL (SELECT child_id FROM child WHERE parent_id = b.id OFFSET 0) AS c
)
SELECT b.id
FROM below AS b CROSS JOIN LATERAL (SELECT status FROM run WHERE id = b.id OFFSET 0) AS r
WHERE r.status NOT IN ('completed', 'failed', 'cancelled');

-- load_payloads --
SELECT run_id, value FROM run_payload WHERE run_id = ANY ($1::text[]) AND kind = $2;

-- last_numbers --
SELECT wanted.run_id,
       (SELECT max(number) FROM entry
        WHERE run_id = wanted.run_id AND attempt = wanted.attempt)
FROM unnest($1::text[], $2::int[]) AS wanted (run_id, attempt);

-- load_entries --
SELECT e.*
FROM unnest($1::text[], $2::int[]) AS wanted (run_id, attempt)
CROSS JOIN LATERAL (
    SELECT run_id, number, kind, address, ordinal, at, name, value, failure, fact_id, due_at,
           task_attempt, started_at, epoch, arguments
    FROM entry WHERE run_id = wanted.run_id AND attempt = wanted.attempt OFFSET 0) AS e
ORDER BY e.run_id, e.number;

-- load_entry_page --
SELECT run_id, number, kind, address, ordinal, at, name, value, failure, fact_id, due_at,
       task_attempt, started_at, epoch, arguments
FROM entry WHERE run_id = $1 AND attempt = $2 AND number >= $3
ORDER BY number LIMIT $4;

-- load_attempts --
SELECT t.*
FROM unnest($1::text[], $2::int[]) AS wanted (run_id, attempt)
CROSS JOIN LATERAL (
    SELECT run_id, address, ordinal, name, number, status, started_at, ended_at, due_at, failure,
           epoch, at_most_once
    FROM task_attempt WHERE run_id = wanted.run_id AND attempt = wanted.attempt OFFSET 0) AS t
ORDER BY t.run_id, t.address, t.ordinal, t.number;

-- load_children --
SELECT c.*
FROM unnest($1::text[], $2::int[]) AS wanted (run_id, attempt)
CROSS JOIN LATERAL (
    SELECT parent_id, key, child_id FROM child
    WHERE parent_id = wanted.run_id AND parent_attempt = wanted.attempt OFFSET 0) AS c;

-- pick_ready --
-- Each queue is read in its own order, so that one queue's length does not cost another's claim;
-- then they are merged. Within a priority, what this very source advanced last goes first, looked
-- for among the first thousand. What others have locked is passed over, so each queue gives more
-- than asked for; `seen` tells whether there may be still more. Only rows of runs are locked.
-- (A LIMIT of unknown size makes the planner expect few rows, and look runs up by their ids.)
WITH seen AS MATERIALIZED (
    SELECT o.run_id, o.priority, o.ready_at,
           o.prefers IS NOT NULL AND o.prefers <> queue.fingerprint AS of_another
    FROM (SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])
          LIMIT cardinality($2)) AS queue (workflow, version, shard, fingerprint)
    CROSS JOIN LATERAL (
        (SELECT * FROM (
            SELECT run_id, priority, ready_at, prefers FROM outbox
            WHERE namespace = $1 AND workflow = queue.workflow AND version = queue.version
              AND shard = queue.shard AND alone = $6
              AND (fingerprint IS NULL OR fingerprint = queue.fingerprint)
            ORDER BY priority DESC, ready_at, run_id LIMIT 1000) AS front
         WHERE prefers IS NULL OR prefers = queue.fingerprint
         LIMIT $8)
        UNION
        (SELECT run_id, priority, ready_at, prefers FROM outbox
         WHERE namespace = $1 AND workflow = queue.workflow AND version = queue.version
           AND shard = queue.shard AND alone = $6
           AND (fingerprint IS NULL OR fingerprint = queue.fingerprint)
         ORDER BY priority DESC, ready_at, run_id LIMIT $8)
    ) AS o
), locked AS MATERIALIZED (
    SELECT r.id, r.namespace, r.workflow, r.version, r.shard, r.priority, r.reference_id,
           r.parent_id, r.parent_attempt, r.digest, r.options, r.created_at,
           r.status, r.revision, r.attempt, r.epoch, r.holder, r.claim_id, r.losses,
           r.alone_losses, r.pause_requested, r.stop_cause, r.stop_delivered, r.retry_pending,
           r.due_at, r.deadline_at, r.grace_until, r.started_at, r.ended_at, r.command_id,
           r.fingerprint
    FROM seen JOIN run AS r ON r.id = seen.run_id
    WHERE r.status = 'queued'
    ORDER BY seen.priority DESC, seen.of_another, seen.ready_at, seen.run_id
    LIMIT $7 FOR UPDATE OF r SKIP LOCKED
), moment AS MATERIALIZED (
    SELECT (SELECT count(*) FROM seen) AS seen, aiki_now() AS now
    FROM (SELECT count(*) FROM locked) AS all_of_them
)
SELECT locked.*, moment.now, moment.seen FROM moment LEFT JOIN locked ON true;

-- peek_ready --
-- As `pick_ready`, for those who only look: nothing is locked.
SELECT o.run_id
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])
     AS queue (workflow, version, shard, fingerprint)
CROSS JOIN LATERAL (
    SELECT run_id, priority, ready_at FROM outbox
    WHERE namespace = $1 AND workflow = queue.workflow AND version = queue.version
      AND shard = queue.shard AND alone = $6
      AND (fingerprint IS NULL OR fingerprint = queue.fingerprint)
    ORDER BY priority DESC, ready_at, run_id LIMIT $7) AS o
ORDER BY o.priority DESC, o.ready_at, o.run_id LIMIT $7;

-- any_alone --
SELECT EXISTS (
    SELECT 1
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])
         AS queue (workflow, version, shard, fingerprint)
    CROSS JOIN LATERAL (
        SELECT 1 FROM outbox
        WHERE namespace = $1 AND workflow = queue.workflow AND version = queue.version
          AND shard = queue.shard AND alone
          AND (fingerprint IS NULL OR fingerprint = queue.fingerprint)
        LIMIT 1) AS o);

-- count_ready --
SELECT workflow, version, shard, count(*), greatest(0, $2 - min(ready_at)) FROM outbox
WHERE namespace = $1 GROUP BY workflow, version, shard ORDER BY workflow, version, shard;

-- stale_outbox --
SELECT run_id FROM outbox WHERE ready_at <= $1 LIMIT $2;

-- unpublished --
SELECT o.run_id, o.namespace, o.workflow, o.version, o.shard, o.ready_at
FROM (SELECT run_id, namespace, workflow, version, shard, ready_at FROM outbox
      WHERE run_id > $1 ORDER BY run_id LIMIT $3) AS o
LEFT JOIN publication AS p ON p.run_id = o.run_id AND p.ready_at = o.ready_at
WHERE o.ready_at <= $2 AND p.run_id IS NULL;

-- outbox_page --
SELECT count(*), max(run_id)
FROM (SELECT run_id FROM outbox WHERE run_id > $1 ORDER BY run_id LIMIT $2) AS page;

-- published --
SELECT o.run_id, o.namespace, o.workflow, o.version, o.shard, o.ready_at,
       p.entry, p.incarnation, p.published_at
FROM publication AS p
JOIN outbox AS o ON o.run_id = p.run_id AND o.ready_at = p.ready_at
WHERE p.run_id > $1 AND p.published_at <= $2
ORDER BY p.run_id LIMIT $3;

-- note_published --
INSERT INTO publication (run_id, ready_at, entry, incarnation, published_at)
SELECT o.run_id, o.ready_at, w.entry, w.incarnation, $5
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[])
    AS w (run_id, ready_at, entry, incarnation)
JOIN outbox AS o ON o.run_id = w.run_id AND o.ready_at = w.ready_at
ORDER BY o.run_id
ON CONFLICT (run_id) DO UPDATE SET ready_at = excluded.ready_at, entry = excluded.entry,
    incarnation = excluded.incarnation, published_at = excluded.published_at;

-- forget_publications --
DELETE FROM publication AS p
WHERE NOT EXISTS (SELECT FROM outbox AS o WHERE o.run_id = p.run_id AND o.ready_at = p.ready_at);

-- live_runs --
SELECT id FROM run WHERE id = ANY ($1::text[]) AND status IN ('queued', 'running');

-- take_duty --
INSERT INTO duty (name, holder, held_until) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
WHERE duty.holder = excluded.holder OR duty.held_until <= $4
RETURNING name;

-- line_up --
INSERT INTO ordering_line (id, last_sequence)
SELECT id, added FROM unnest($1::text[], $2::bigint[]) AS w (id, added) ORDER BY id
ON CONFLICT (id) DO UPDATE
    SET last_sequence = ordering_line.last_sequence + excluded.last_sequence
RETURNING id, last_sequence;

-- take_turns --
INSERT INTO ordering_turn (run_id, line, sequence)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]);

-- end_turns --
DELETE FROM ordering_turn WHERE run_id = ANY ($1::text[]);

-- first_turns --
SELECT wanted.id,
       (SELECT t.run_id FROM ordering_turn AS t WHERE t.line = wanted.id
        ORDER BY t.sequence LIMIT 1)
FROM unnest($1::text[]) AS wanted (id);

-- waiting_in_line --
SELECT t.run_id FROM ordering_turn AS t JOIN run AS r ON r.id = t.run_id
WHERE t.run_id > $1 AND r.status = 'waiting'
AND EXISTS (SELECT 1 FROM wait AS w WHERE w.run_id = t.run_id AND w.kind = 'child')
ORDER BY t.run_id LIMIT $2;

-- drop_lines --
DELETE FROM ordering_line WHERE id = ANY ($1::text[]);

-- claimed_by --
SELECT id FROM run
WHERE holder = $2 AND status = 'running' AND namespace = $1 AND claim_id = $3;

-- held_runs --
SELECT id, epoch, claim_id,
       (SELECT at FROM transition AS t WHERE t.run_id = run.id AND t.revision = run.revision)
FROM run WHERE holder = $2 AND status = 'running' AND namespace = $1;

-- held_by_many --
SELECT id FROM run WHERE status = 'running' AND holder = ANY ($1::text[]) LIMIT $2;

-- orphans --
-- Running, but its holder is unknown or no longer alive: an anti-join, so that no row is missed.
SELECT r.id FROM run AS r LEFT JOIN worker AS w ON w.incarnation = r.holder AND w.status = 'alive'
WHERE r.status = 'running' AND w.incarnation IS NULL LIMIT $1;

-- pushed_facts --
SELECT f.id, f.run_id, f.kind, f.name, f.at, f.value, f.failure, f.key
FROM run AS r
CROSS JOIN LATERAL (
    SELECT * FROM fact WHERE run_id = r.id AND consumed_by IS NULL OFFSET 0) AS f
WHERE r.holder = $2 AND r.status = 'running' AND r.namespace = $1
ORDER BY f.at, f.id;

-- due_runs --
SELECT id FROM run WHERE wake_at <= $1 ORDER BY wake_at, id LIMIT $2;

-- next_wake --
SELECT min(wake_at) FROM run WHERE wake_at IS NOT NULL;

-- diverged_runs --
-- Of a version, those that this source has not met yet.
SELECT r.id FROM run AS r
WHERE r.namespace = $1 AND r.workflow = $2 AND r.version = $3 AND r.status = 'diverged'
  AND NOT EXISTS (SELECT 1 FROM divergence AS d WHERE d.run_id = r.id AND d.fingerprint = $4)
LIMIT $5;

-- insert_decision --
INSERT INTO decision (run_id, attempt, sequence, decision, at)
VALUES ($1, $2, (SELECT count(*) + 1 FROM decision WHERE run_id = $1 AND attempt = $2), $3, $4);

-- load_decisions --
SELECT d.run_id, d.decision
FROM unnest($1::text[], $2::int[]) AS wanted (run_id, attempt)
CROSS JOIN LATERAL (
    SELECT run_id, sequence, decision FROM decision
    WHERE run_id = wanted.run_id AND attempt = wanted.attempt OFFSET 0) AS d
ORDER BY d.run_id, d.sequence;

-- save_divergence --
INSERT INTO divergence (run_id, fingerprint, at, divergence) VALUES ($1, $2, $3, $4)
ON CONFLICT (run_id, fingerprint) DO UPDATE
SET at = excluded.at, divergence = excluded.divergence;

-- load_divergence --
SELECT divergence FROM divergence WHERE run_id = $1 ORDER BY at DESC, fingerprint LIMIT 1;

-- save_worker --
INSERT INTO worker (incarnation, namespace, name, status, lease_ms, lease_until, registered_at,
                    seen_at, offers, shards, stuck)
VALUES ($1, $2, $3, 'alive', $4, $5, $6, $6, $7, $8, '[]')
ON CONFLICT (incarnation) DO UPDATE
SET status = 'alive', lease_until = excluded.lease_until, seen_at = excluded.seen_at,
    offers = excluded.offers
WHERE worker.namespace = excluded.namespace;

-- renew_worker --
UPDATE worker SET lease_until = $1 + lease_ms, seen_at = $1, status = 'alive', stuck = $2,
    suspect_since = NULL
WHERE namespace = $3 AND incarnation = $4 AND status <> 'stopped' RETURNING incarnation;

-- open_claim --
SELECT claim.instant, claim.known, claim.granted, EXISTS (
    SELECT 1
    FROM unnest($5::text[], $6::text[], $7::text[], $8::text[])
         AS queue (workflow, version, shard, fingerprint)
    CROSS JOIN LATERAL (
        SELECT 1 FROM outbox
        WHERE namespace = $1 AND workflow = queue.workflow AND version = queue.version
          AND shard = queue.shard AND alone
          AND (fingerprint IS NULL OR fingerprint = queue.fingerprint)
        LIMIT 1) AS o)
FROM aiki_open_claim($1, $2, $3, $4) AS claim;

-- stop_worker --
UPDATE worker SET status = 'stopped', suspect_since = NULL
WHERE namespace = $1 AND incarnation = $2;

-- see_worker --
UPDATE worker SET presence = $3, suspect_since = NULL
WHERE namespace = $1 AND incarnation = $2 AND presence <= $3;

-- suspect_worker --
UPDATE worker SET suspect_since = $4
WHERE namespace = $1 AND incarnation = $2 AND presence = $3 AND status = 'alive';

-- silent_workers --
SELECT incarnation FROM worker
WHERE status = 'alive' AND (lease_until < $1 OR suspect_since <= $2);

-- lose_workers --
UPDATE worker SET status = 'lost', suspect_since = NULL
WHERE status = 'alive'
  AND (lease_until < $2 OR suspect_since <= $3 OR incarnation = ANY ($1::text[]))
RETURNING incarnation;

-- alive_workers --
SELECT incarnation, lease_until FROM worker WHERE status = 'alive';

-- list_workers --
SELECT w.incarnation, w.name, w.namespace, w.status, w.lease_ms, w.lease_until, w.registered_at,
       w.seen_at,
       (SELECT count(*) FROM run WHERE holder = w.incarnation AND status = 'running'), w.stuck
FROM worker AS w WHERE w.namespace = $1
ORDER BY w.status <> 'alive', w.seen_at DESC LIMIT 1000;

-- expire_workers --
DELETE FROM worker WHERE status <> 'alive' AND seen_at < $1;

-- expire_announced --
DELETE FROM announced AS a WHERE a.at < $1 AND NOT EXISTS (
    SELECT 1 FROM worker AS w WHERE w.incarnation = a.incarnation);

-- save_workflow_versions --
INSERT INTO workflow_version (namespace, name, version, fingerprint, spec, first_seen_at,
                              last_seen_at)
SELECT $1, s.name, s.version, s.fingerprint, s.spec, $6, $6
FROM unnest($2::text[], $3::text[], $4::text[], $5::bytea[]) AS s (name, version, fingerprint, spec)
ORDER BY s.name, s.version
ON CONFLICT (namespace, name, version) DO UPDATE
SET fingerprint = excluded.fingerprint, spec = excluded.spec,
    last_seen_at = excluded.last_seen_at;

-- retarget_outbox --
-- What was offered to one source alone is offered to the newest: the other may be gone.
UPDATE outbox SET fingerprint = s.fingerprint
FROM (SELECT * FROM unnest($2::text[], $3::text[], $4::text[]) LIMIT cardinality($2))
     AS s (workflow, version, fingerprint)
WHERE outbox.namespace = $1 AND outbox.workflow = s.workflow AND outbox.version = s.version
  AND outbox.fingerprint IS NOT NULL AND outbox.fingerprint <> s.fingerprint;

-- load_workflow_versions --
SELECT namespace, spec, first_seen_at, last_seen_at FROM workflow_version WHERE namespace = $1
ORDER BY name, version;

-- save_namespace --
INSERT INTO namespace (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING;

-- set_retention --
UPDATE namespace SET retention_ms = $2 WHERE name = $1;

-- load_namespaces --
SELECT name, retention_ms FROM namespace ORDER BY name;

-- load_answer --
SELECT answer FROM answer WHERE namespace = $1 AND command_id = $2;

-- expire_answers --
DELETE FROM answer WHERE at < $1;

-- load_dead_letters --
SELECT id, namespace, run_id, reason, at, detail FROM dead_letter WHERE id = ANY ($1::text[]);

-- delete_dead_letters --
DELETE FROM dead_letter WHERE id = ANY ($1::text[]);

-- delete_letters_of --
DELETE FROM dead_letter WHERE run_id = ANY ($1::text[]);

-- expire_letters --
DELETE FROM dead_letter WHERE run_id IS NULL AND at < $1;

-- list_dead_letters --
-- A range of one namespace keeps it in the order, which only its index has: by ids alone, those of
-- all other namespaces might be walked.
SELECT id, namespace, run_id, reason, at, detail FROM dead_letter
WHERE namespace BETWEEN $1 AND $1 AND id < coalesce($2, '~')
ORDER BY namespace DESC, id DESC LIMIT $3;

-- load_transitions --
SELECT run_id, revision, status, reason, at, attempt, epoch, worker FROM transition
WHERE run_id = $1 ORDER BY revision;

-- recent_transitions --
SELECT r.workflow, t.run_id, t.revision, t.status, t.reason, t.at, t.attempt, t.epoch, t.worker
FROM (SELECT * FROM transition WHERE at >= $2 ORDER BY at, run_id, revision OFFSET 0) AS t
CROSS JOIN LATERAL (
    SELECT namespace, workflow FROM run WHERE id = t.run_id OFFSET 0) AS r
WHERE r.namespace = $1
ORDER BY t.at, t.run_id, t.revision LIMIT $3;

-- expired_runs --
-- Ended long ago, and no live parent still has to record the end.
SELECT r.id FROM run AS r LEFT JOIN run AS p ON p.id = r.parent_id
WHERE r.namespace = $1 AND r.ended_at < $2 AND (p.id IS NULL OR p.ended_at IS NOT NULL)
LIMIT $3;

-- delete_runs --
WITH payloads AS (DELETE FROM run_payload WHERE run_id = ANY ($1::text[])),
     entries AS (DELETE FROM entry WHERE run_id = ANY ($1)),
     attempts AS (DELETE FROM task_attempt WHERE run_id = ANY ($1)),
     facts AS (DELETE FROM fact WHERE run_id = ANY ($1)),
     waits AS (DELETE FROM wait WHERE run_id = ANY ($1)),
     children AS (DELETE FROM child WHERE parent_id = ANY ($1)),
     transitions AS (DELETE FROM transition WHERE run_id = ANY ($1)),
     decisions AS (DELETE FROM decision WHERE run_id = ANY ($1)),
     divergences AS (DELETE FROM divergence WHERE run_id = ANY ($1)),
     letters AS (DELETE FROM dead_letter WHERE run_id = ANY ($1))
DELETE FROM run WHERE id = ANY ($1);

-- hold_presence --
-- Waits for whoever looks just now whether the lock is free.
SELECT pg_advisory_lock(aiki_presence_key($1));

-- leave_presence --
SELECT pg_advisory_unlock(aiki_presence_key($1));

-- announce --
INSERT INTO announced (incarnation, at) VALUES ($1, aiki_now())
ON CONFLICT (incarnation) DO NOTHING;

-- withdraw --
DELETE FROM announced WHERE incarnation = $1;

-- free_presences --
-- Taken and let go at once: whoever could be taken has no session that holds it.
SELECT incarnation FROM announced
WHERE incarnation = ANY ($1::text[])
  AND pg_try_advisory_xact_lock(aiki_presence_key(incarnation));

-- save_runs --
SELECT aiki_save_runs(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
    $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40,
    $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59,
    $60, $61, $62, $63, $64, $65, $66, $67, $68, $69, $70, $71, $72, $73, $74, $75);

-- save_runs_guarded --
SELECT aiki_save_runs(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
    $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40,
    $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59,
    $60, $61, $62, $63, $64, $65, $66, $67, $68, $69, $70, $71, $72, $73, $74, $75)
FROM aiki_guard($76, $77);

-- save_records --
SELECT aiki_save_records(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
    $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40,
    $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59,
    $60, $61, $62, $63, $64, $65, $66, $67, $68, $69, $70, $71, $72);

-- save_records_guarded --
SELECT aiki_save_records(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
    $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40,
    $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59,
    $60, $61, $62, $63, $64, $65, $66, $67, $68, $69, $70, $71, $72)
FROM aiki_guard($73, $74);

-- save_all --
SELECT aiki_save_runs(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
    $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40,
    $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59,
    $60, $61, $62, $63, $64, $65, $66, $67, $68, $69, $70, $71, $72, $73, $74, $75),
aiki_save_records(
    $76, $77, $78, $79, $80, $81, $82, $83, $84, $85, $86, $87, $88, $89, $90, $91, $92, $93, $94,
    $95, $96, $97, $98, $99, $100, $101, $102, $103, $104, $105, $106, $107, $108, $109, $110,
    $111, $112, $113, $114, $115, $116, $117, $118, $119, $120, $121, $122, $123, $124, $125, $126,
    $127, $128, $129, $130, $131, $132, $133, $134, $135, $136, $137, $138, $139, $140, $141, $142,
    $143, $144, $145, $146, $147);

-- save_all_guarded --
SELECT aiki_save_runs(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
    $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40,
    $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, $56, $57, $58, $59,
    $60, $61, $62, $63, $64, $65, $66, $67, $68, $69, $70, $71, $72, $73, $74, $75),
aiki_save_records(
    $76, $77, $78, $79, $80, $81, $82, $83, $84, $85, $86, $87, $88, $89, $90, $91, $92, $93, $94,
    $95, $96, $97, $98, $99, $100, $101, $102, $103, $104, $105, $106, $107, $108, $109, $110,
    $111, $112, $113, $114, $115, $116, $117, $118, $119, $120, $121, $122, $123, $124, $125, $126,
    $127, $128, $129, $130, $131, $132, $133, $134, $135, $136, $137, $138, $139, $140, $141, $142,
    $143, $144, $145, $146, $147)
FROM aiki_guard($148, $149);
