-- Lists of values come as one JSON text, and STRAIGHT_JOIN reads them first: then, by its index,
-- what belongs to each. What has no value is left out of a JSON object, not written as null. A text
-- that is too long is cut by MariaDB: 1300 characters are more than any column holds, so that what
-- is cut equals nothing.

-- begin --
BEGIN;

-- begin_read --
-- One snapshot for all that is read.
START TRANSACTION WITH CONSISTENT SNAPSHOT;

-- commit --
COMMIT;

-- rollback --
ROLLBACK;

-- now --
SELECT CAST(FLOOR(UNIX_TIMESTAMP(NOW(6)) * 1000) AS SIGNED) + offset_ms FROM clock WHERE one = 1;

-- shift_clock --
UPDATE clock SET offset_ms = offset_ms + ?1 WHERE one = 1;

-- tell --
INSERT INTO news (sender, ready, runs, facts, at)
VALUES (?1, ?2, ?3, ?4, FLOOR(UNIX_TIMESTAMP(NOW(6)) * 1000))
ON DUPLICATE KEY UPDATE ready = news.ready + VALUES(ready), runs = news.runs + VALUES(runs),
    facts = news.facts + VALUES(facts), at = VALUES(at);

-- hear --
-- What all others told so far.
SELECT CAST(COALESCE(SUM(ready), 0) AS SIGNED), CAST(COALESCE(SUM(runs), 0) AS SIGNED),
       CAST(COALESCE(SUM(facts), 0) AS SIGNED)
FROM news WHERE sender NOT LIKE CONCAT(?1, ' %');

-- expire_news --
DELETE FROM news WHERE at < ?1;

-- lock_runs --
-- Locked in the order in which they are asked for, the order of ids: no two transactions wait for
-- each other.
SELECT r.id, r.namespace, r.workflow, r.version, r.shard, r.priority, r.reference_id, r.parent_id,
       r.parent_attempt, r.digest, r.options, r.created_at,
       r.status, r.revision, r.attempt, r.epoch, r.holder, r.claim_id, r.losses, r.alone_losses,
       r.pause_requested, r.stop_cause, r.stop_delivered, r.retry_pending, r.due_at, r.deadline_at,
       r.grace_until, r.started_at, r.ended_at, r.command_id, r.fingerprint
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN run AS r ON r.id = CAST(wanted.id AS BINARY)
FOR UPDATE;

-- lock_ready --
-- As `lock_runs`, of those that may be claimed, and without those that others have locked.
SELECT r.id, r.namespace, r.workflow, r.version, r.shard, r.priority, r.reference_id, r.parent_id,
       r.parent_attempt, r.digest, r.options, r.created_at,
       r.status, r.revision, r.attempt, r.epoch, r.holder, r.claim_id, r.losses, r.alone_losses,
       r.pause_requested, r.stop_cause, r.stop_delivered, r.retry_pending, r.due_at, r.deadline_at,
       r.grace_until, r.started_at, r.ended_at, r.command_id, r.fingerprint
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN run AS r ON r.id = CAST(wanted.id AS BINARY)
WHERE r.status = 'queued'
LIMIT ?2 FOR UPDATE SKIP LOCKED;

-- peek_runs --
SELECT r.id, r.namespace, r.workflow, r.version, r.shard, r.priority, r.reference_id, r.parent_id,
       r.parent_attempt, r.digest, r.options, r.created_at,
       r.status, r.revision, r.attempt, r.epoch, r.holder, r.claim_id, r.losses, r.alone_losses,
       r.pause_requested, r.stop_cause, r.stop_delivered, r.retry_pending, r.due_at, r.deadline_at,
       r.grace_until, r.started_at, r.ended_at, r.command_id, r.fingerprint
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN run AS r ON r.id = CAST(wanted.id AS BINARY);

-- find_references --
SELECT r.namespace, r.workflow, r.reference_id, r.id
FROM JSON_TABLE(?1, '$[*]' COLUMNS (
        namespace VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[0]',
        workflow VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[1]',
        reference_id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[2]')) AS wanted
STRAIGHT_JOIN run AS r FORCE INDEX (run_reference)
    ON r.namespace = CAST(wanted.namespace AS BINARY)
   AND r.workflow = CAST(wanted.workflow AS BINARY)
   AND r.reference_id = CAST(wanted.reference_id AS BINARY);

-- load_facts --
-- Only what nobody has taken, oldest first.
SELECT f.id, f.run_id, f.kind, f.name, f.at, f.value, f.failure, f.`key`
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN fact AS f FORCE INDEX (fact_open)
    ON f.run_id = CAST(wanted.id AS BINARY) AND f.consumed_by IS NULL
ORDER BY f.run_id, f.at, f.id;

-- find_facts_by_key --
SELECT f.id, f.run_id, f.kind, f.name, f.at, f.value, f.failure, f.`key`
FROM JSON_TABLE(?1, '$[*]' COLUMNS (
        run_id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[0]',
        name VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[1]',
        sender_key VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[2]')) AS wanted
STRAIGHT_JOIN fact AS f FORCE INDEX (fact_key)
    ON f.run_id = CAST(wanted.run_id AS BINARY) AND f.name = CAST(wanted.name AS BINARY)
   AND f.`key` = CAST(wanted.sender_key AS BINARY);

-- find_facts --
SELECT f.id, f.run_id, f.kind, f.name, f.at, f.value, f.failure, f.`key`
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN fact AS f ON f.id = CAST(wanted.id AS BINARY);

-- load_waits --
SELECT w.run_id, w.kind, w.name, w.due_at
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN wait AS w ON w.run_id = CAST(wanted.id AS BINARY)
ORDER BY w.run_id, w.due_at IS NULL, w.due_at;

-- descendants --
-- Unfinished children, their children, and so on.
WITH RECURSIVE below (id) AS (
    SELECT c.child_id
    FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
    STRAIGHT_JOIN child AS c ON c.parent_id = CAST(wanted.id AS BINARY)
    UNION
    SELECT c.child_id FROM below AS b STRAIGHT_JOIN child AS c ON c.parent_id = b.id
)
SELECT r.id FROM below AS b STRAIGHT_JOIN run AS r ON r.id = b.id
WHERE r.status NOT IN ('completed', 'failed', 'cancelled');

-- insert_runs --
INSERT INTO run (id, namespace, workflow, version, shard, priority, reference_id, parent_id,
                 parent_attempt, digest, options, created_at,
                 status, revision, attempt, epoch, holder, claim_id, losses, alone_losses,
                 pause_requested, stop_cause, stop_delivered, retry_pending, due_at, deadline_at,
                 grace_until, started_at, ended_at, command_id, fingerprint, wake_at)
VALUES ?rows;

-- update_states --
-- What is too large is cut to more than a column takes, so that the column refuses it.
UPDATE JSON_TABLE(?1, '$[*]' COLUMNS (
        id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$.id' ERROR ON ERROR,
        status VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$.status' ERROR ON ERROR,
        revision BIGINT PATH '$.revision' ERROR ON ERROR,
        attempt BIGINT PATH '$.attempt' ERROR ON ERROR,
        epoch BIGINT PATH '$.epoch' ERROR ON ERROR,
        holder VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$.holder' ERROR ON ERROR,
        claim_id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$.claim_id' ERROR ON ERROR,
        losses BIGINT PATH '$.losses' ERROR ON ERROR,
        alone_losses BIGINT PATH '$.alone_losses' ERROR ON ERROR,
        pause_requested BIGINT PATH '$.pause_requested' ERROR ON ERROR,
        stop_cause VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$.stop_cause' ERROR ON ERROR,
        stop_delivered BIGINT PATH '$.stop_delivered' ERROR ON ERROR,
        retry_pending BIGINT PATH '$.retry_pending' ERROR ON ERROR,
        due_at DECIMAL(30) PATH '$.due_at' ERROR ON ERROR,
        deadline_at DECIMAL(30) PATH '$.deadline_at' ERROR ON ERROR,
        grace_until DECIMAL(30) PATH '$.grace_until' ERROR ON ERROR,
        started_at DECIMAL(30) PATH '$.started_at' ERROR ON ERROR,
        ended_at DECIMAL(30) PATH '$.ended_at' ERROR ON ERROR,
        command_id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$.command_id' ERROR ON ERROR,
        fingerprint VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$.fingerprint' ERROR ON ERROR,
        wake_at DECIMAL(30) PATH '$.wake_at' ERROR ON ERROR)) AS u
STRAIGHT_JOIN run AS r ON r.id = CAST(u.id AS BINARY)
SET r.status = u.status, r.revision = u.revision, r.attempt = u.attempt, r.epoch = u.epoch,
    r.holder = u.holder, r.claim_id = u.claim_id, r.losses = u.losses,
    r.alone_losses = u.alone_losses, r.pause_requested = u.pause_requested,
    r.stop_cause = u.stop_cause, r.stop_delivered = u.stop_delivered,
    r.retry_pending = u.retry_pending, r.due_at = u.due_at, r.deadline_at = u.deadline_at,
    r.grace_until = u.grace_until, r.started_at = u.started_at, r.ended_at = u.ended_at,
    r.command_id = u.command_id, r.fingerprint = u.fingerprint, r.wake_at = u.wake_at;

-- insert_payloads --
INSERT INTO run_payload (run_id, kind, value) VALUES ?rows
ON DUPLICATE KEY UPDATE value = VALUES(value);

-- load_payloads --
SELECT p.run_id, p.value
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN run_payload AS p ON p.run_id = CAST(wanted.id AS BINARY) AND p.kind = ?2;

-- insert_entries --
-- The same number again is the same entry, reported twice.
INSERT INTO entry (run_id, attempt, number, kind, address, ordinal, at, name, value, failure,
                   fact_id, due_at, task_attempt, started_at, epoch, arguments)
VALUES ?rows
ON DUPLICATE KEY UPDATE number = entry.number;

-- last_numbers --
SELECT wanted.run_id,
       (SELECT MAX(e.number) FROM entry AS e
        WHERE e.run_id = CAST(wanted.run_id AS BINARY) AND e.attempt = wanted.attempt)
FROM JSON_TABLE(?1, '$[*]' COLUMNS (
        run_id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[0]',
        attempt INT PATH '$[1]')) AS wanted;

-- load_entries --
SELECT e.run_id, e.number, e.kind, e.address, e.ordinal, e.at, e.name, e.value, e.failure,
       e.fact_id, e.due_at, e.task_attempt, e.started_at, e.epoch, e.arguments
FROM JSON_TABLE(?1, '$[*]' COLUMNS (
        run_id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[0]',
        attempt INT PATH '$[1]')) AS wanted
STRAIGHT_JOIN entry AS e
    ON e.run_id = CAST(wanted.run_id AS BINARY) AND e.attempt = wanted.attempt
ORDER BY e.run_id, e.number;

-- load_entry_page --
SELECT run_id, number, kind, address, ordinal, at, name, value, failure, fact_id, due_at,
       task_attempt, started_at, epoch, arguments
FROM entry WHERE run_id = ?1 AND attempt = ?2 AND number >= ?3
ORDER BY number LIMIT ?4;

-- save_attempts --
-- A terminal attempt stays as it is; its status is set last, because the others look at it.
INSERT INTO task_attempt (run_id, attempt, address, ordinal, number, name, status, started_at,
                          ended_at, due_at, failure, epoch, at_most_once)
VALUES ?rows
ON DUPLICATE KEY UPDATE
    ended_at = IF(task_attempt.status = 'running', VALUES(ended_at), task_attempt.ended_at),
    due_at = IF(task_attempt.status = 'running', VALUES(due_at), task_attempt.due_at),
    failure = IF(task_attempt.status = 'running', VALUES(failure), task_attempt.failure),
    status = IF(task_attempt.status = 'running', VALUES(status), task_attempt.status);

-- close_attempts --
UPDATE JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN task_attempt AS t ON t.run_id = CAST(wanted.id AS BINARY)
SET t.status = ?2, t.ended_at = ?3
WHERE t.status = 'running';

-- load_attempts --
SELECT t.run_id, t.address, t.ordinal, t.name, t.number, t.status, t.started_at, t.ended_at,
       t.due_at, t.failure, t.epoch, t.at_most_once
FROM JSON_TABLE(?1, '$[*]' COLUMNS (
        run_id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[0]',
        attempt INT PATH '$[1]')) AS wanted
STRAIGHT_JOIN task_attempt AS t
    ON t.run_id = CAST(wanted.run_id AS BINARY) AND t.attempt = wanted.attempt
ORDER BY t.run_id, t.address, t.ordinal, t.number;

-- delete_waits --
DELETE w
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN wait AS w ON w.run_id = CAST(wanted.id AS BINARY);

-- insert_waits --
INSERT INTO wait (run_id, kind, name, due_at) VALUES ?rows;

-- insert_facts --
INSERT INTO fact (id, run_id, kind, name, at, value, failure, `key`) VALUES ?rows;

-- consume_facts --
UPDATE JSON_TABLE(?1, '$[*]' COLUMNS (
        number INT PATH '$[0]',
        attempt INT PATH '$[1]',
        id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[2]',
        run_id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[3]')) AS taken
STRAIGHT_JOIN fact AS f FORCE INDEX (PRIMARY)
    ON f.id = CAST(taken.id AS BINARY) AND f.run_id = CAST(taken.run_id AS BINARY)
SET f.consumed_by = taken.number, f.consumed_attempt = taken.attempt
WHERE f.consumed_by IS NULL;

-- insert_children --
INSERT INTO child (parent_id, parent_attempt, `key`, child_id) VALUES ?rows
ON DUPLICATE KEY UPDATE parent_id = child.parent_id;

-- load_children --
SELECT c.parent_id, c.`key`, c.child_id
FROM JSON_TABLE(?1, '$[*]' COLUMNS (
        run_id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[0]',
        attempt INT PATH '$[1]')) AS wanted
STRAIGHT_JOIN child AS c
    ON c.parent_id = CAST(wanted.run_id AS BINARY) AND c.parent_attempt = wanted.attempt;

-- insert_transitions --
INSERT INTO transition (run_id, revision, status, reason, at, attempt, epoch, worker)
VALUES ?rows;

-- insert_outbox --
INSERT INTO outbox (run_id, namespace, workflow, version, shard, priority, ready_at, alone,
                    fingerprint, prefers, queue)
VALUES ?rows;

-- delete_outbox --
DELETE o
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN outbox AS o ON o.run_id = CAST(wanted.id AS BINARY);

-- look_ready --
-- The first of one queue, and the first of those that this source advanced last or nobody did,
-- looked for among the first thousand. Nothing is locked.
(SELECT front.urgency, 0, front.ready_at, front.run_id FROM (
    SELECT urgency, ready_at, run_id, prefers FROM outbox FORCE INDEX (outbox_ready)
    WHERE queue = ?1 AND alone = ?2 AND (fingerprint IS NULL OR fingerprint = ?3)
    ORDER BY urgency, ready_at, run_id LIMIT 1000) AS front
 WHERE front.prefers IS NULL OR front.prefers = ?3
 LIMIT ?4)
UNION
(SELECT urgency, prefers IS NOT NULL AND prefers <> ?3, ready_at, run_id
 FROM outbox FORCE INDEX (outbox_ready)
 WHERE queue = ?1 AND alone = ?2 AND (fingerprint IS NULL OR fingerprint = ?3)
 ORDER BY urgency, ready_at, run_id LIMIT ?4);

-- peek_ready --
-- As `look_ready`, for those who only look.
SELECT urgency, 0, ready_at, run_id FROM outbox FORCE INDEX (outbox_ready)
WHERE queue = ?1 AND alone = ?2 AND (fingerprint IS NULL OR fingerprint = ?3)
ORDER BY urgency, ready_at, run_id LIMIT ?4;

-- any_alone --
SELECT EXISTS (
    SELECT 1
    FROM JSON_TABLE(?1, '$[*]' COLUMNS (
            queue VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[0]',
            fingerprint VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[1]')) AS q
    STRAIGHT_JOIN outbox AS o FORCE INDEX (outbox_ready)
        ON o.queue = UNHEX(q.queue) AND o.alone = 1
       AND (o.fingerprint IS NULL OR o.fingerprint = CAST(q.fingerprint AS BINARY)));

-- count_ready --
SELECT workflow, version, shard, COUNT(*), GREATEST(0, ?2 - MIN(ready_at)) FROM outbox
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
STRAIGHT_JOIN outbox AS o ON o.run_id = p.run_id AND o.ready_at = p.ready_at
WHERE p.run_id > ?1 AND p.published_at <= ?2
ORDER BY p.run_id LIMIT ?3;

-- note_published --
INSERT INTO publication (run_id, ready_at, entry, incarnation, published_at)
SELECT o.run_id, o.ready_at, CAST(noted.entry AS BINARY), CAST(noted.incarnation AS BINARY), ?2
FROM JSON_TABLE(?1, '$[*]' COLUMNS (
        run_id VARCHAR(200) CHARACTER SET utf8mb4 PATH '$[0]',
        ready_at BIGINT PATH '$[1]',
        entry VARCHAR(200) CHARACTER SET utf8mb4 PATH '$[2]',
        incarnation VARCHAR(200) CHARACTER SET utf8mb4 PATH '$[3]')) AS noted
STRAIGHT_JOIN outbox AS o ON o.run_id = CAST(noted.run_id AS BINARY) AND o.ready_at = noted.ready_at
ORDER BY o.run_id
ON DUPLICATE KEY UPDATE ready_at = VALUES(ready_at), entry = VALUES(entry),
    incarnation = VALUES(incarnation), published_at = VALUES(published_at);

-- forget_publications --
DELETE p FROM publication AS p
LEFT JOIN outbox AS o ON o.run_id = p.run_id AND o.ready_at = p.ready_at
WHERE o.run_id IS NULL;

-- live_runs --
SELECT r.id
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN run AS r ON r.id = CAST(wanted.id AS BINARY)
WHERE r.status IN ('queued', 'running');

-- take_duty --
-- The assignments are made in their order: the second sees who has it now.
INSERT INTO duty (name, holder, held_until) VALUES (?1, ?2, ?3)
ON DUPLICATE KEY UPDATE
    holder = IF(duty.holder = VALUES(holder) OR duty.held_until <= ?4, VALUES(holder), duty.holder),
    held_until = IF(duty.holder = VALUES(holder), VALUES(held_until), duty.held_until);

-- has_duty --
SELECT 1 FROM duty WHERE name = ?1 AND holder = ?2 FOR UPDATE;

-- line_up --
INSERT INTO ordering_line (id, last_sequence)
SELECT CAST(w.id AS BINARY), w.added
FROM JSON_TABLE(?1, '$[*]' COLUMNS (
        id VARCHAR(200) CHARACTER SET utf8mb4 PATH '$[0]',
        added BIGINT PATH '$[1]')) AS w
ORDER BY w.id
ON DUPLICATE KEY UPDATE last_sequence = ordering_line.last_sequence + VALUES(last_sequence);

-- last_sequences --
SELECT l.id, l.last_sequence
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN ordering_line AS l ON l.id = CAST(wanted.id AS BINARY);

-- take_turns --
INSERT INTO ordering_turn (run_id, line, sequence)
SELECT CAST(w.run_id AS BINARY), CAST(w.line AS BINARY), w.sequence
FROM JSON_TABLE(?1, '$[*]' COLUMNS (
        run_id VARCHAR(200) CHARACTER SET utf8mb4 PATH '$[0]',
        line VARCHAR(200) CHARACTER SET utf8mb4 PATH '$[1]',
        sequence BIGINT PATH '$[2]')) AS w;

-- end_turns --
DELETE turn
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN ordering_turn AS turn ON turn.run_id = CAST(wanted.id AS BINARY);

-- first_turns --
SELECT CAST(wanted.id AS BINARY) AS line,
       (SELECT turn.run_id FROM ordering_turn AS turn
        WHERE turn.line = CAST(wanted.id AS BINARY) ORDER BY turn.sequence LIMIT 1)
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted;

-- waiting_in_line --
SELECT t.run_id FROM ordering_turn AS t JOIN run AS r ON r.id = t.run_id
WHERE t.run_id > ?1 AND r.status = 'waiting'
AND EXISTS (SELECT 1 FROM wait AS w WHERE w.run_id = t.run_id AND w.kind = 'child')
ORDER BY t.run_id LIMIT ?2;

-- drop_lines --
DELETE l
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN ordering_line AS l ON l.id = CAST(wanted.id AS BINARY);

-- claimed_by --
SELECT id FROM run FORCE INDEX (run_held)
WHERE held_by = ?2 AND claim_id = ?3 AND namespace = ?1;

-- held_runs --
SELECT r.id, r.epoch, r.claim_id, t.at
FROM run AS r FORCE INDEX (run_held)
LEFT JOIN transition AS t ON t.run_id = r.id AND t.revision = r.revision
WHERE r.held_by = ?2 AND r.namespace = ?1;

-- held_by_many --
SELECT r.id
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN run AS r FORCE INDEX (run_held) ON r.held_by = CAST(wanted.id AS BINARY)
LIMIT ?2;

-- orphans --
-- Running, but its holder is unknown or no longer alive: an anti-join, so that no row is missed.
SELECT r.id
FROM run AS r FORCE INDEX (run_held)
LEFT JOIN worker AS w ON w.incarnation = r.held_by AND w.status = 'alive'
WHERE r.held_by IS NOT NULL AND w.incarnation IS NULL LIMIT ?1;

-- pushed_facts --
SELECT f.id, f.run_id, f.kind, f.name, f.at, f.value, f.failure, f.`key`
FROM run AS r FORCE INDEX (run_held)
STRAIGHT_JOIN fact AS f FORCE INDEX (fact_open) ON f.run_id = r.id AND f.consumed_by IS NULL
WHERE r.held_by = ?2 AND r.namespace = ?1
ORDER BY f.at, f.id;

-- due_runs --
SELECT id FROM run FORCE INDEX (run_wake) WHERE wake_at <= ?1 ORDER BY wake_at, id LIMIT ?2;

-- next_wake --
SELECT MIN(wake_at) FROM run WHERE wake_at IS NOT NULL;

-- diverged_runs --
-- Of a version, those that this source has not met yet.
SELECT r.id FROM run AS r FORCE INDEX (run_diverged)
LEFT JOIN divergence AS d ON d.run_id = r.id AND d.fingerprint = ?4
WHERE r.diverged_workflow = ?2 AND r.version = ?3 AND r.namespace = ?1 AND d.run_id IS NULL
LIMIT ?5;

-- insert_decision --
INSERT INTO decision (run_id, attempt, sequence, decision, at)
SELECT ?1, ?2, COUNT(*) + 1, ?3, ?4 FROM decision WHERE run_id = ?1 AND attempt = ?2;

-- load_decisions --
SELECT d.run_id, d.decision
FROM JSON_TABLE(?1, '$[*]' COLUMNS (
        run_id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[0]',
        attempt INT PATH '$[1]')) AS wanted
STRAIGHT_JOIN decision AS d
    ON d.run_id = CAST(wanted.run_id AS BINARY) AND d.attempt = wanted.attempt
ORDER BY d.run_id, d.sequence;

-- save_divergence --
INSERT INTO divergence (run_id, fingerprint, at, divergence) VALUES (?1, ?2, ?3, ?4)
ON DUPLICATE KEY UPDATE at = VALUES(at), divergence = VALUES(divergence);

-- load_divergence --
SELECT divergence FROM divergence WHERE run_id = ?1 ORDER BY at DESC, fingerprint LIMIT 1;

-- save_worker --
-- Another namespace's worker of the same incarnation is left as it is; what is looked at is set
-- last.
INSERT INTO worker (incarnation, namespace, name, status, lease_ms, lease_until, registered_at,
                    seen_at, offers, shards, stuck)
VALUES (?1, ?2, ?3, 'alive', ?4, ?5, ?6, ?6, ?7, ?8, '[]')
ON DUPLICATE KEY UPDATE
    status = IF(worker.namespace = VALUES(namespace), 'alive', worker.status),
    lease_until = IF(worker.namespace = VALUES(namespace), VALUES(lease_until), worker.lease_until),
    seen_at = IF(worker.namespace = VALUES(namespace), VALUES(seen_at), worker.seen_at),
    offers = IF(worker.namespace = VALUES(namespace), VALUES(offers), worker.offers);

-- renew_worker --
UPDATE worker SET lease_until = ?1 + lease_ms, seen_at = ?1, status = 'alive', stuck = ?2,
    suspect_since = NULL
WHERE incarnation = ?4 AND namespace = ?3 AND status <> 'stopped';

-- renew_claimer --
UPDATE worker SET lease_until = ?1 + lease_ms, seen_at = ?1
WHERE incarnation = ?3 AND namespace = ?2 AND status NOT IN ('stopped', 'lost');

-- matched --
-- Rows that the statement before has found.
SELECT ROW_COUNT();

-- stop_worker --
UPDATE worker SET status = 'stopped', suspect_since = NULL
WHERE incarnation = ?2 AND namespace = ?1;

-- see_worker --
UPDATE worker SET presence = ?3, suspect_since = NULL
WHERE incarnation = ?2 AND namespace = ?1 AND presence <= ?3;

-- suspect_worker --
UPDATE worker SET suspect_since = ?4
WHERE incarnation = ?2 AND namespace = ?1 AND presence = ?3 AND status = 'alive';

-- silent_workers --
SELECT incarnation FROM worker
WHERE status = 'alive' AND (lease_until < ?1 OR suspect_since <= ?2);

-- lock_lost_workers --
SELECT incarnation FROM worker
WHERE status = 'alive'
  AND (lease_until < ?2 OR suspect_since <= ?3
       OR JSON_CONTAINS(?1, JSON_QUOTE(CONVERT(incarnation USING utf8mb4))))
ORDER BY incarnation FOR UPDATE;

-- lose_workers --
UPDATE JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS lost
STRAIGHT_JOIN worker AS w ON w.incarnation = CAST(lost.id AS BINARY)
SET w.status = 'lost', w.suspect_since = NULL;

-- alive_workers --
SELECT incarnation, lease_until FROM worker WHERE status = 'alive';

-- list_workers --
SELECT w.incarnation, w.name, w.namespace, w.status, w.lease_ms, w.lease_until, w.registered_at,
       w.seen_at, (SELECT COUNT(*) FROM run WHERE held_by = w.incarnation), w.stuck
FROM worker AS w WHERE w.namespace = ?1
ORDER BY w.status <> 'alive', w.seen_at DESC LIMIT 1000;

-- expire_workers --
DELETE FROM worker WHERE status <> 'alive' AND seen_at < ?1;

-- expire_announced --
DELETE a FROM announced AS a LEFT JOIN worker AS w ON w.incarnation = a.incarnation
WHERE a.at < ?1 AND w.incarnation IS NULL;

-- save_workflow_versions --
INSERT INTO workflow_version (namespace, name, version, fingerprint, spec, first_seen_at,
                              last_seen_at)
VALUES ?rows
ON DUPLICATE KEY UPDATE fingerprint = VALUES(fingerprint), spec = VALUES(spec),
    last_seen_at = VALUES(last_seen_at);

-- retarget_outbox --
-- What was offered to one source alone is offered to the newest: the other may be gone.
UPDATE JSON_TABLE(?2, '$[*]' COLUMNS (
        workflow VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[0]',
        version VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[1]',
        fingerprint VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$[2]')) AS s
STRAIGHT_JOIN outbox AS o FORCE INDEX (outbox_offered)
    ON o.namespace = ?1 AND o.workflow = CAST(s.workflow AS BINARY)
   AND o.version = CAST(s.version AS BINARY)
SET o.fingerprint = s.fingerprint
WHERE o.fingerprint <> CAST(s.fingerprint AS BINARY);

-- load_workflow_versions --
SELECT namespace, spec, first_seen_at, last_seen_at FROM workflow_version WHERE namespace = ?1
ORDER BY name, version;

-- save_namespace --
INSERT INTO namespace (name, created_at) VALUES (?1, ?2)
ON DUPLICATE KEY UPDATE name = VALUES(name);

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
INSERT INTO audit (id, at, namespace, principal, operation, object_id, detail) VALUES ?rows;

-- insert_dead_letters --
INSERT INTO dead_letter (id, namespace, run_id, reason, at, detail) VALUES ?rows;

-- load_dead_letters --
SELECT d.id, d.namespace, d.run_id, d.reason, d.at, d.detail
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN dead_letter AS d ON d.id = CAST(wanted.id AS BINARY);

-- delete_dead_letters --
DELETE d
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN dead_letter AS d ON d.id = CAST(wanted.id AS BINARY);

-- delete_letters_of --
DELETE d
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN dead_letter AS d ON d.run_id = CAST(wanted.id AS BINARY);

-- expire_letters --
DELETE FROM dead_letter WHERE run_id IS NULL AND at < ?1;

-- list_dead_letters --
SELECT id, namespace, run_id, reason, at, detail FROM dead_letter
WHERE namespace = ?1 AND id < coalesce(?2, '~') ORDER BY id DESC LIMIT ?3;

-- load_transitions --
SELECT run_id, revision, status, reason, at, attempt, epoch, worker FROM transition
WHERE run_id = ?1 ORDER BY revision;

-- recent_transitions --
SELECT r.workflow, t.run_id, t.revision, t.status, t.reason, t.at, t.attempt, t.epoch, t.worker
FROM transition AS t FORCE INDEX (transition_at) STRAIGHT_JOIN run AS r ON r.id = t.run_id
WHERE t.at >= ?2 AND r.namespace = ?1
ORDER BY t.at, t.run_id, t.revision LIMIT ?3;

-- expired_runs --
-- Ended long ago, and no live parent still has to record the end.
SELECT r.id FROM run AS r FORCE INDEX (run_ended) LEFT JOIN run AS p ON p.id = r.parent_id
WHERE r.namespace = ?1 AND r.ended_at < ?2 AND (p.id IS NULL OR p.ended_at IS NOT NULL)
LIMIT ?3;

-- delete_run_payload --
DELETE d
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN run_payload AS d ON d.run_id = CAST(wanted.id AS BINARY);

-- delete_run_entry --
DELETE d
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN entry AS d ON d.run_id = CAST(wanted.id AS BINARY);

-- delete_run_attempt --
DELETE d
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN task_attempt AS d ON d.run_id = CAST(wanted.id AS BINARY);

-- delete_run_fact --
DELETE d
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN fact AS d FORCE INDEX (fact_open) ON d.run_id = CAST(wanted.id AS BINARY);

-- delete_run_child --
DELETE d
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN child AS d ON d.parent_id = CAST(wanted.id AS BINARY);

-- delete_run_transition --
DELETE d
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN transition AS d ON d.run_id = CAST(wanted.id AS BINARY);

-- delete_run_decision --
DELETE d
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN decision AS d ON d.run_id = CAST(wanted.id AS BINARY);

-- delete_run_divergence --
DELETE d
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN divergence AS d ON d.run_id = CAST(wanted.id AS BINARY);

-- delete_run --
DELETE d
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN run AS d ON d.id = CAST(wanted.id AS BINARY);
