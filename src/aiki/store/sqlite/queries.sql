-- begin --
-- The write lock is taken at once: a deferred transaction that upgrades fails without waiting.
BEGIN IMMEDIATE;

-- commit --
COMMIT;

-- rollback --
ROLLBACK;

-- data_version --
-- Changes when another connection, so another process, has committed.
PRAGMA data_version;

-- now --
-- The one clock: this machine's time plus the testing offset, and never back.
UPDATE clock SET now_ms = max(now_ms, ?1 + offset_ms) RETURNING now_ms;

-- peek_now --
SELECT max(now_ms, ?1 + offset_ms) FROM clock;

-- shift_clock --
UPDATE clock SET offset_ms = offset_ms + ?1;

-- load_runs --
SELECT id, namespace, workflow, version, shard, priority, reference_id, parent_id, parent_attempt,
       digest, options, created_at,
       status, revision, attempt, epoch, holder, claim_id, losses, alone_losses, pause_requested,
       stop_cause, stop_delivered, retry_pending, due_at, deadline_at, grace_until, started_at,
       ended_at, command_id, fingerprint
FROM run WHERE id IN (SELECT value FROM json_each(?1));

-- find_references --
SELECT r.namespace, r.workflow, r.reference_id, r.id
FROM json_each(?1) AS wanted
JOIN run AS r ON r.namespace = wanted.value ->> 0 AND r.workflow = wanted.value ->> 1
             AND r.reference_id = wanted.value ->> 2;

-- load_facts --
-- Only what nobody has taken, oldest first.
SELECT id, run_id, kind, name, at, value, failure, key
FROM fact
WHERE run_id IN (SELECT value FROM json_each(?1)) AND consumed_by IS NULL
ORDER BY run_id, at, id;

-- find_facts_by_key --
SELECT f.id, f.run_id, f.kind, f.name, f.at, f.value, f.failure, f.key
FROM json_each(?1) AS wanted
JOIN fact AS f ON f.run_id = wanted.value ->> 0 AND f.name = wanted.value ->> 1
              AND f.key = wanted.value ->> 2;

-- find_facts --
SELECT id, run_id, kind, name, at, value, failure, key
FROM fact WHERE id IN (SELECT value FROM json_each(?1));

-- load_waits --
SELECT run_id, kind, name, due_at FROM wait
WHERE run_id IN (SELECT value FROM json_each(?1)) ORDER BY run_id, due_at IS NULL, due_at;

-- descendants --
-- Unfinished children, their children, and so on.
WITH RECURSIVE below (id) AS (
    SELECT child_id FROM child WHERE parent_id IN (SELECT value FROM json_each(?1))
    UNION
    SELECT c.child_id FROM below AS b JOIN child AS c ON c.parent_id = b.id
)
SELECT r.id FROM below AS b JOIN run AS r ON r.id = b.id
WHERE r.status NOT IN ('completed', 'failed', 'cancelled');

-- insert_runs --
INSERT INTO run (id, namespace, workflow, version, shard, priority, reference_id, parent_id,
                 parent_attempt, digest, options, created_at,
                 status, revision, attempt, epoch, holder, claim_id, losses, alone_losses,
                 pause_requested, stop_cause, stop_delivered, retry_pending, due_at, deadline_at,
                 grace_until, started_at, ended_at, command_id, fingerprint, wake_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- update_states --
UPDATE run SET status = ?1, revision = ?2, attempt = ?3, epoch = ?4, holder = ?5, claim_id = ?6,
    losses = ?7, alone_losses = ?8, pause_requested = ?9, stop_cause = ?10, stop_delivered = ?11,
    retry_pending = ?12, due_at = ?13, deadline_at = ?14, grace_until = ?15, started_at = ?16,
    ended_at = ?17, command_id = ?18, fingerprint = ?19, wake_at = ?20
WHERE id = ?21;

-- insert_payloads --
INSERT INTO run_payload (run_id, kind, value) VALUES (?1, ?2, ?3)
ON CONFLICT (run_id, kind) DO UPDATE SET value = excluded.value;

-- load_payloads --
SELECT run_id, value FROM run_payload
WHERE run_id IN (SELECT value FROM json_each(?1)) AND kind = ?2;

-- insert_entries --
-- The same number again is the same entry, reported twice.
INSERT OR IGNORE INTO entry (run_id, attempt, number, kind, address, ordinal, at, name, value,
                             failure, fact_id, due_at, task_attempt, started_at, epoch,
                             arguments)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- last_numbers --
SELECT wanted.value ->> 0,
       (SELECT max(number) FROM entry
        WHERE run_id = wanted.value ->> 0 AND attempt = wanted.value ->> 1)
FROM json_each(?1) AS wanted;

-- load_entries --
SELECT e.run_id, e.number, e.kind, e.address, e.ordinal, e.at, e.name, e.value, e.failure,
       e.fact_id, e.due_at, e.task_attempt, e.started_at, e.epoch, e.arguments
FROM json_each(?1) AS wanted
JOIN entry AS e ON e.run_id = wanted.value ->> 0 AND e.attempt = wanted.value ->> 1
ORDER BY e.run_id, e.number;

-- load_entry_page --
SELECT run_id, number, kind, address, ordinal, at, name, value, failure, fact_id, due_at,
       task_attempt, started_at, epoch, arguments
FROM entry WHERE run_id = ?1 AND attempt = ?2 AND number >= ?3
ORDER BY number LIMIT ?4;

-- save_attempts --
-- A terminal attempt stays as it is.
INSERT INTO task_attempt (run_id, attempt, address, ordinal, number, name, status, started_at,
                          ended_at, due_at, failure, epoch, at_most_once)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run_id, attempt, address, ordinal, number) DO UPDATE
SET status = excluded.status, ended_at = excluded.ended_at, due_at = excluded.due_at,
    failure = excluded.failure
WHERE task_attempt.status = 'running';

-- close_attempts --
UPDATE task_attempt SET status = ?1, ended_at = ?2
WHERE run_id IN (SELECT value FROM json_each(?3)) AND status = 'running';

-- load_attempts --
SELECT t.run_id, t.address, t.ordinal, t.name, t.number, t.status, t.started_at, t.ended_at,
       t.due_at, t.failure, t.epoch, t.at_most_once
FROM json_each(?1) AS wanted
JOIN task_attempt AS t ON t.run_id = wanted.value ->> 0 AND t.attempt = wanted.value ->> 1
ORDER BY t.run_id, t.address, t.ordinal, t.number;

-- delete_waits --
DELETE FROM wait WHERE run_id IN (SELECT value FROM json_each(?1));

-- insert_waits --
INSERT INTO wait (run_id, kind, name, due_at) VALUES (?, ?, ?, ?)
ON CONFLICT (run_id, kind, name) DO UPDATE SET due_at = min(due_at, excluded.due_at);

-- insert_facts --
INSERT INTO fact (id, run_id, kind, name, at, value, failure, key) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- consume_facts --
UPDATE fact SET consumed_by = ?1, consumed_attempt = ?2
WHERE id = ?3 AND run_id = ?4 AND consumed_by IS NULL;

-- insert_children --
INSERT OR IGNORE INTO child (parent_id, parent_attempt, key, child_id) VALUES (?, ?, ?, ?);

-- load_children --
SELECT c.parent_id, c.key, c.child_id
FROM json_each(?1) AS wanted
JOIN child AS c ON c.parent_id = wanted.value ->> 0 AND c.parent_attempt = wanted.value ->> 1;

-- count_children --
SELECT wanted.value ->> 0, (SELECT count(*) FROM child WHERE parent_id = wanted.value ->> 0)
FROM json_each(?1) AS wanted;

-- insert_transitions --
INSERT INTO transition (run_id, revision, status, reason, at, attempt, epoch, worker)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- insert_outbox --
INSERT INTO outbox (run_id, namespace, workflow, version, shard, priority, ready_at, alone,
                    fingerprint, prefers)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- delete_outbox --
DELETE FROM outbox WHERE run_id IN (SELECT value FROM json_each(?1));

-- pick_ready --
-- Each queue is read in its own order up to the limit, then they are merged: one queue's length
-- does not cost another's claim. Within a priority, what this very source advanced last goes first.
SELECT o.run_id
FROM json_each(?1) AS queue
JOIN outbox AS o ON o.run_id IN (
    SELECT run_id FROM (
        SELECT run_id FROM outbox
        WHERE namespace = ?2 AND workflow = queue.value ->> 0 AND version = queue.value ->> 1
          AND shard = queue.value ->> 2 AND alone = ?3
          AND (fingerprint IS NULL OR fingerprint = queue.value ->> 3)
          AND (prefers IS NULL OR prefers = queue.value ->> 3)
        ORDER BY priority DESC, ready_at, run_id LIMIT ?4)
    UNION
    SELECT run_id FROM (
        SELECT run_id FROM outbox
        WHERE namespace = ?2 AND workflow = queue.value ->> 0 AND version = queue.value ->> 1
          AND shard = queue.value ->> 2 AND alone = ?3
          AND (fingerprint IS NULL OR fingerprint = queue.value ->> 3)
        ORDER BY priority DESC, ready_at, run_id LIMIT ?4))
ORDER BY o.priority DESC, o.prefers IS NOT NULL AND o.prefers <> queue.value ->> 3,
         o.ready_at, o.run_id LIMIT ?4;

-- any_alone --
-- A CROSS JOIN fixes the order: first the queues that are asked for, not all that is ready.
SELECT EXISTS (
    SELECT 1 FROM json_each(?1) AS queue CROSS JOIN outbox AS o
    ON o.namespace = ?2 AND o.workflow = queue.value ->> 0 AND o.version = queue.value ->> 1
       AND o.shard = queue.value ->> 2 AND o.alone = 1
       AND (o.fingerprint IS NULL OR o.fingerprint = queue.value ->> 3));

-- count_ready --
SELECT workflow, version, shard, count(*), max(0, ?2 - min(ready_at)) FROM outbox
WHERE namespace = ?1 GROUP BY workflow, version, shard ORDER BY workflow, version, shard;

-- stale_outbox --
SELECT run_id FROM outbox WHERE ready_at <= ?1 LIMIT ?2;

-- unpublished --
SELECT o.run_id, o.namespace, o.workflow, o.version, o.shard, o.ready_at
FROM (SELECT run_id, namespace, workflow, version, shard, ready_at FROM outbox
      WHERE run_id > ?1 ORDER BY run_id LIMIT ?3) AS o
LEFT JOIN publication AS p ON p.run_id = o.run_id AND p.ready_at = o.ready_at
WHERE o.ready_at <= ?2 AND p.run_id IS NULL;

-- outbox_page --
SELECT count(*), max(run_id)
FROM (SELECT run_id FROM outbox WHERE run_id > ?1 ORDER BY run_id LIMIT ?2) AS page;

-- published --
SELECT o.run_id, o.namespace, o.workflow, o.version, o.shard, o.ready_at,
       p.entry, p.incarnation, p.published_at
FROM publication AS p
JOIN outbox AS o ON o.run_id = p.run_id AND o.ready_at = p.ready_at
WHERE p.run_id > ?1 AND p.published_at <= ?2
ORDER BY p.run_id LIMIT ?3;

-- note_published --
INSERT INTO publication (run_id, ready_at, entry, incarnation, published_at)
SELECT o.run_id, o.ready_at, ?3, ?4, ?5 FROM outbox AS o WHERE o.run_id = ?1 AND o.ready_at = ?2
ON CONFLICT (run_id) DO UPDATE SET ready_at = excluded.ready_at, entry = excluded.entry,
    incarnation = excluded.incarnation, published_at = excluded.published_at;

-- forget_publications --
DELETE FROM publication
WHERE NOT EXISTS (SELECT 1 FROM outbox AS o
                  WHERE o.run_id = publication.run_id AND o.ready_at = publication.ready_at);

-- live_runs --
SELECT id FROM run
WHERE id IN (SELECT value FROM json_each(?1)) AND status IN ('queued', 'running');

-- take_duty --
INSERT INTO duty (name, holder, held_until) VALUES (?1, ?2, ?3)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
WHERE duty.holder = excluded.holder OR duty.held_until <= ?4
RETURNING name;

-- line_up --
INSERT INTO ordering_line (id, last_sequence) SELECT key, value FROM json_each(?1) WHERE true
ON CONFLICT (id) DO UPDATE SET last_sequence = last_sequence + excluded.last_sequence
RETURNING id, last_sequence;

-- take_turns --
INSERT INTO ordering_turn (run_id, line, sequence) VALUES (?1, ?2, ?3);

-- end_turns --
DELETE FROM ordering_turn WHERE run_id IN (SELECT value FROM json_each(?1));

-- first_turns --
SELECT wanted.value,
       (SELECT t.run_id FROM ordering_turn AS t WHERE t.line = wanted.value
        ORDER BY t.sequence LIMIT 1)
FROM json_each(?1) AS wanted;

-- waiting_in_line --
SELECT t.run_id FROM ordering_turn AS t JOIN run AS r ON r.id = t.run_id
WHERE t.run_id > ?1 AND r.status = 'waiting'
AND EXISTS (SELECT 1 FROM wait AS w WHERE w.run_id = t.run_id AND w.kind = 'child')
ORDER BY t.run_id LIMIT ?2;

-- drop_lines --
DELETE FROM ordering_line WHERE id IN (SELECT value FROM json_each(?1));

-- claimed_by --
-- Without statistics the planner would rather walk all runs of the namespace.
SELECT id FROM run INDEXED BY run_held
WHERE namespace = ?1 AND holder = ?2 AND status = 'running' AND claim_id = ?3;

-- held_runs --
SELECT r.id, r.epoch, r.claim_id, t.at
FROM run AS r INDEXED BY run_held
LEFT JOIN transition AS t ON t.run_id = r.id AND t.revision = r.revision
WHERE r.namespace = ?1 AND r.holder = ?2 AND r.status = 'running';

-- held_by_many --
SELECT id FROM run WHERE status = 'running' AND holder IN (SELECT value FROM json_each(?1))
LIMIT ?2;

-- orphans --
-- Running, but its holder is unknown or no longer alive: an anti-join, so that no row is missed.
SELECT r.id FROM run AS r LEFT JOIN worker AS w ON w.incarnation = r.holder AND w.status = 'alive'
WHERE r.status = 'running' AND w.incarnation IS NULL LIMIT ?1;

-- pushed_facts --
SELECT f.id, f.run_id, f.kind, f.name, f.at, f.value, f.failure, f.key
FROM run AS r INDEXED BY run_held
CROSS JOIN fact AS f INDEXED BY fact_open ON f.run_id = r.id AND f.consumed_by IS NULL
WHERE r.namespace = ?1 AND r.holder = ?2 AND r.status = 'running'
ORDER BY f.at, f.id;

-- due_runs --
SELECT id FROM run WHERE wake_at <= ?1 ORDER BY wake_at, id LIMIT ?2;

-- next_wake --
SELECT min(wake_at) FROM run WHERE wake_at IS NOT NULL;

-- diverged_runs --
-- Of a version, those that this source has not met yet.
SELECT r.id FROM run AS r
WHERE r.namespace = ?1 AND r.workflow = ?2 AND r.version = ?3 AND r.status = 'diverged'
  AND NOT EXISTS (SELECT 1 FROM divergence AS d WHERE d.run_id = r.id AND d.fingerprint = ?4)
LIMIT ?5;

-- insert_decision --
INSERT INTO decision (run_id, attempt, sequence, decision, at)
VALUES (?1, ?2, (SELECT count(*) + 1 FROM decision WHERE run_id = ?1 AND attempt = ?2), ?3, ?4);

-- load_decisions --
SELECT d.run_id, d.decision
FROM json_each(?1) AS wanted
JOIN decision AS d ON d.run_id = wanted.value ->> 0 AND d.attempt = wanted.value ->> 1
ORDER BY d.run_id, d.sequence;

-- save_divergence --
INSERT INTO divergence (run_id, fingerprint, at, divergence) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (run_id, fingerprint) DO UPDATE
SET at = excluded.at, divergence = excluded.divergence;

-- load_divergence --
SELECT divergence FROM divergence WHERE run_id = ?1 ORDER BY at DESC, fingerprint LIMIT 1;

-- save_worker --
INSERT INTO worker (incarnation, namespace, name, status, lease_ms, lease_until, registered_at,
                    seen_at, offers, shards, stuck)
VALUES (?1, ?2, ?3, 'alive', ?4, ?5, ?6, ?6, ?7, ?8, X'5B5D')
ON CONFLICT (incarnation) DO UPDATE
SET status = 'alive', lease_until = excluded.lease_until, seen_at = excluded.seen_at,
    offers = excluded.offers
WHERE worker.namespace = excluded.namespace;

-- renew_worker --
UPDATE worker SET lease_until = ?1 + lease_ms, seen_at = ?1, status = 'alive', stuck = ?2,
    suspect_since = NULL
WHERE namespace = ?3 AND incarnation = ?4 AND status <> 'stopped' RETURNING incarnation;

-- renew_claimer --
UPDATE worker SET lease_until = ?1 + lease_ms, seen_at = ?1
WHERE namespace = ?2 AND incarnation = ?3 AND status NOT IN ('stopped', 'lost')
RETURNING incarnation;

-- stop_worker --
UPDATE worker SET status = 'stopped', suspect_since = NULL
WHERE namespace = ?1 AND incarnation = ?2;

-- see_worker --
UPDATE worker SET presence = ?3, suspect_since = NULL
WHERE namespace = ?1 AND incarnation = ?2 AND presence <= ?3;

-- suspect_worker --
UPDATE worker SET suspect_since = ?4
WHERE namespace = ?1 AND incarnation = ?2 AND presence = ?3 AND status = 'alive';

-- silent_workers --
SELECT incarnation FROM worker
WHERE status = 'alive' AND (lease_until < ?1 OR suspect_since <= ?2);

-- lose_workers --
UPDATE worker SET status = 'lost', suspect_since = NULL
WHERE status = 'alive'
  AND (lease_until < ?2 OR suspect_since <= ?3 OR incarnation IN (SELECT value FROM json_each(?1)))
RETURNING incarnation;

-- alive_workers --
SELECT incarnation, lease_until FROM worker WHERE status = 'alive';

-- save_workflow_version --
INSERT INTO workflow_version (namespace, name, version, fingerprint, spec, first_seen_at,
                              last_seen_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
ON CONFLICT (namespace, name, version) DO UPDATE
SET fingerprint = excluded.fingerprint, spec = excluded.spec,
    last_seen_at = excluded.last_seen_at;

-- retarget_outbox --
-- What was offered to one source alone is offered to the newest: the other may be gone.
UPDATE outbox INDEXED BY outbox_offered SET fingerprint = ?4
WHERE namespace = ?1 AND workflow = ?2 AND version = ?3 AND fingerprint IS NOT NULL;

-- load_workflow_versions --
SELECT namespace, spec, first_seen_at, last_seen_at FROM workflow_version WHERE namespace = ?1
ORDER BY name, version;

-- save_namespace --
INSERT OR IGNORE INTO namespace (name, created_at) VALUES (?1, ?2);

-- set_retention --
UPDATE namespace SET retention_ms = ?2 WHERE name = ?1;

-- load_namespaces --
SELECT name, retention_ms FROM namespace ORDER BY name;

-- save_answer --
INSERT INTO answer (namespace, command_id, answer, at) VALUES (?1, ?2, ?3, ?4);

-- load_answer --
SELECT answer FROM answer WHERE namespace = ?1 AND command_id = ?2;

-- expire_answers --
DELETE FROM answer WHERE at < ?1;

-- insert_audit --
INSERT INTO audit (id, at, namespace, principal, operation, object_id, detail)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- insert_dead_letters --
INSERT INTO dead_letter (id, namespace, run_id, reason, at, detail) VALUES (?, ?, ?, ?, ?, ?);

-- load_dead_letters --
SELECT id, namespace, run_id, reason, at, detail FROM dead_letter
WHERE id IN (SELECT value FROM json_each(?1));

-- delete_dead_letters --
DELETE FROM dead_letter WHERE id IN (SELECT value FROM json_each(?1));

-- delete_letters_of --
DELETE FROM dead_letter WHERE run_id IN (SELECT value FROM json_each(?1));

-- expire_letters --
DELETE FROM dead_letter WHERE run_id IS NULL AND at < ?1;

-- list_dead_letters --
SELECT id, namespace, run_id, reason, at, detail FROM dead_letter
WHERE namespace = ?1 AND id < coalesce(?2, '~') ORDER BY id DESC LIMIT ?3;

-- recent_transitions --
SELECT r.workflow, t.run_id, t.revision, t.status, t.reason, t.at, t.attempt, t.epoch, t.worker
FROM transition AS t INDEXED BY transition_at CROSS JOIN run AS r ON r.id = t.run_id
WHERE t.at >= ?2 AND r.namespace = ?1
ORDER BY t.at, t.run_id, t.revision LIMIT ?3;

-- The lists differ in the index that leads: pages stay cheap however many runs have ended.
-- list_all_newest --
SELECT id FROM run INDEXED BY run_newest
WHERE namespace = ?1 AND (?2 IS NULL OR id < ?2)
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id DESC LIMIT ?11;

-- list_all_oldest --
SELECT id FROM run INDEXED BY run_newest
WHERE namespace = ?1 AND (?2 IS NULL OR id > ?2)
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id LIMIT ?11;

-- list_workflow_newest --
SELECT id FROM run INDEXED BY run_workflow
WHERE namespace = ?1 AND (?2 IS NULL OR id < ?2)
  AND workflow = ?3
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id DESC LIMIT ?11;

-- list_workflow_oldest --
SELECT id FROM run INDEXED BY run_workflow
WHERE namespace = ?1 AND (?2 IS NULL OR id > ?2)
  AND workflow = ?3
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id LIMIT ?11;

-- list_open_newest --
SELECT id FROM run INDEXED BY run_open
WHERE namespace = ?1 AND (?2 IS NULL OR id < ?2)
  AND ended_at IS NULL
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id DESC LIMIT ?11;

-- list_open_oldest --
SELECT id FROM run INDEXED BY run_open
WHERE namespace = ?1 AND (?2 IS NULL OR id > ?2)
  AND ended_at IS NULL
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id LIMIT ?11;

-- list_failed_newest --
SELECT id FROM run INDEXED BY run_failed
WHERE namespace = ?1 AND (?2 IS NULL OR id < ?2)
  AND status IN ('failed', 'cancelled')
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id DESC LIMIT ?11;

-- list_failed_oldest --
SELECT id FROM run INDEXED BY run_failed
WHERE namespace = ?1 AND (?2 IS NULL OR id > ?2)
  AND status IN ('failed', 'cancelled')
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id LIMIT ?11;

-- list_parent_newest --
SELECT id FROM run INDEXED BY run_parent
WHERE namespace = ?1 AND (?2 IS NULL OR id < ?2)
  AND parent_id = ?7
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id DESC LIMIT ?11;

-- list_parent_oldest --
SELECT id FROM run INDEXED BY run_parent
WHERE namespace = ?1 AND (?2 IS NULL OR id > ?2)
  AND parent_id = ?7
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id LIMIT ?11;

-- list_reference_newest --
SELECT id FROM run INDEXED BY run_reference
WHERE namespace = ?1 AND (?2 IS NULL OR id < ?2)
  AND workflow = ?3 AND reference_id = ?6
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id DESC LIMIT ?11;

-- list_reference_oldest --
SELECT id FROM run INDEXED BY run_reference
WHERE namespace = ?1 AND (?2 IS NULL OR id > ?2)
  AND workflow = ?3 AND reference_id = ?6
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR status IN (SELECT value FROM json_each(?5)))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id LIMIT ?11;

-- load_transitions --
SELECT run_id, revision, status, reason, at, attempt, epoch, worker FROM transition
WHERE run_id = ?1 ORDER BY revision;

-- list_workers --
SELECT w.incarnation, w.name, w.namespace, w.status, w.lease_ms, w.lease_until, w.registered_at,
       w.seen_at,
       (SELECT count(*) FROM run WHERE holder = w.incarnation AND status = 'running'), w.stuck
FROM worker AS w WHERE w.namespace = ?1
ORDER BY w.status <> 'alive', w.seen_at DESC LIMIT 1000;

-- expired_runs --
-- Ended long ago, and no live parent still has to record the end.
SELECT r.id FROM run AS r LEFT JOIN run AS p ON p.id = r.parent_id
WHERE r.namespace = ?1 AND r.ended_at < ?2 AND (p.id IS NULL OR p.ended_at IS NOT NULL)
LIMIT ?3;

-- delete_run --
DELETE FROM run WHERE id = ?1;
-- delete_run_payload --
DELETE FROM run_payload WHERE run_id = ?1;
-- delete_run_entry --
DELETE FROM entry WHERE run_id = ?1;
-- delete_run_attempt --
DELETE FROM task_attempt WHERE run_id = ?1;
-- delete_run_fact --
DELETE FROM fact WHERE run_id = ?1;
-- delete_run_child --
DELETE FROM child WHERE parent_id = ?1;
-- delete_run_transition --
DELETE FROM transition WHERE run_id = ?1;
-- delete_run_decision --
DELETE FROM decision WHERE run_id = ?1;
-- delete_run_divergence --
DELETE FROM divergence WHERE run_id = ?1;

-- expired_workers --
DELETE FROM worker WHERE status <> 'alive' AND seen_at < ?1;

-- schema_version --
SELECT max(version) FROM schema_migration;

-- has_schema --
SELECT count(*) FROM sqlite_master WHERE name = 'schema_migration';

-- record_migration --
INSERT INTO schema_migration (version, name, applied_at) VALUES (?1, ?2, ?3);

-- start_clock --
INSERT INTO clock (one, now_ms, offset_ms) VALUES (1, ?1, 0);
