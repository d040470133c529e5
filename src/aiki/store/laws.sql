-- The laws of a database that no crash may break: each statement answers rows that break its law, so
-- none. They are written so that every database understands them; `aiki.store.laws` runs them.

-- a_reference_names_one_run --
SELECT namespace, workflow, reference_id FROM run WHERE reference_id IS NOT NULL
GROUP BY 1, 2, 3 HAVING count(*) > 1
LIMIT 20;

-- the_status_is_that_of_the_last_transition --
SELECT r.id FROM run AS r LEFT JOIN transition AS t
ON t.run_id = r.id AND t.revision = r.revision
WHERE coalesce(t.status, '') <> r.status OR coalesce(t.attempt, 0) <> r.attempt
   OR coalesce(t.epoch, -1) <> r.epoch
LIMIT 20;

-- the_revision_counts_the_transitions --
SELECT r.id FROM run AS r
WHERE r.revision <> (SELECT count(*) - 1 FROM transition WHERE run_id = r.id)
   OR r.revision <> (SELECT max(revision) FROM transition WHERE run_id = r.id)
LIMIT 20;

-- nothing_follows_an_end --
SELECT r.id FROM run AS r JOIN transition AS t ON t.run_id = r.id
WHERE t.status IN ('completed', 'failed', 'cancelled') AND t.revision < r.revision
LIMIT 20;

-- ready_runs_are_offered_and_no_others --
SELECT r.id FROM run AS r LEFT JOIN outbox AS o ON o.run_id = r.id
WHERE (r.status = 'queued') <> (o.run_id IS NOT NULL)
UNION ALL SELECT run_id FROM outbox WHERE run_id NOT IN (SELECT id FROM run)
LIMIT 20;

-- nothing_waits_without_a_source_that_wakes_it --
SELECT r.id FROM run AS r WHERE r.status = 'scheduled' AND r.due_at IS NULL
UNION ALL
SELECT r.id FROM run AS r WHERE r.status = 'waiting'
AND NOT EXISTS (SELECT 1 FROM wait AS w WHERE w.run_id = r.id)
UNION ALL
SELECT r.id FROM run AS r WHERE r.status = 'waiting' AND coalesce(r.due_at, -1) <>
    coalesce((SELECT min(due_at) FROM wait AS w WHERE w.run_id = r.id), -1)
UNION ALL
SELECT r.id FROM run AS r WHERE r.status IN ('scheduled', 'waiting')
AND r.due_at IS NOT NULL AND (r.wake_at IS NULL OR r.wake_at > r.due_at)
UNION ALL
SELECT r.id FROM run AS r WHERE r.ended_at IS NULL AND r.deadline_at IS NOT NULL
AND (r.wake_at IS NULL OR r.wake_at > r.deadline_at)
UNION ALL
SELECT r.id FROM run AS r WHERE r.ended_at IS NULL AND r.grace_until IS NOT NULL
AND (r.wake_at IS NULL OR r.wake_at > r.grace_until)
UNION ALL
SELECT w.run_id FROM wait AS w
WHERE w.kind IN ('timer', 'task_retry', 'run_retry') AND w.due_at IS NULL
UNION ALL
SELECT r.id FROM run AS r WHERE r.status = 'running' AND r.holder IS NULL
LIMIT 20;

-- an_attempt_of_a_task_has_at_most_one_end --
SELECT run_id FROM task_attempt WHERE status IN ('lost', 'discarded') AND ended_at IS NULL
UNION ALL SELECT run_id FROM task_attempt WHERE status = 'completed'
GROUP BY run_id, attempt, address, ordinal HAVING count(*) > 1
LIMIT 20;

-- epochs_never_fall_and_only_claims_and_ends_from_outside_raise_them --
WITH step AS (SELECT run_id, status, epoch,
    coalesce(lag(epoch) OVER (PARTITION BY run_id ORDER BY revision), 0) AS old_epoch
    FROM transition)
SELECT run_id FROM step WHERE epoch < old_epoch
OR (status = 'running' AND epoch <> old_epoch + 1)
OR (status NOT IN ('running', 'failed', 'cancelled') AND epoch <> old_epoch)
UNION ALL SELECT e.run_id FROM entry AS e JOIN run AS r ON r.id = e.run_id
WHERE e.epoch > r.epoch
LIMIT 20;

-- the_epoch_of_a_claim_is_one_claim --
SELECT run_id FROM transition WHERE status = 'running'
GROUP BY run_id, epoch HAVING count(*) > 1
LIMIT 20;

-- no_event_that_is_there_is_waited_for --
SELECT r.id FROM run AS r JOIN wait AS w ON w.run_id = r.id
JOIN fact AS f ON f.run_id = r.id AND f.kind = w.kind AND f.name = w.name
WHERE r.status = 'waiting' AND f.consumed_by IS NULL
UNION ALL
SELECT r.id FROM run AS r JOIN fact AS f ON f.run_id = r.id AND f.kind = 'cancel'
WHERE r.status = 'waiting' AND f.consumed_by IS NULL
LIMIT 20;

-- no_child_that_has_ended_is_waited_for --
SELECT r.id FROM run AS r JOIN wait AS w ON w.run_id = r.id AND w.kind = 'child'
JOIN run AS c ON c.id = w.name AND c.parent_id = r.id AND c.parent_attempt = r.attempt
LEFT JOIN fact AS f ON f.run_id = r.id AND f.kind = 'child' AND f.name = c.id
WHERE r.status = 'waiting' AND c.ended_at IS NOT NULL
AND (f.id IS NULL OR f.consumed_by IS NULL)
LIMIT 20;

-- an_event_is_taken_by_one_entry_that_is_there --
SELECT f.id FROM fact AS f LEFT JOIN entry AS e ON e.run_id = f.run_id
AND e.attempt = f.consumed_attempt AND e.number = f.consumed_by
WHERE f.consumed_by IS NOT NULL AND e.number IS NULL
UNION ALL SELECT run_id FROM fact WHERE consumed_by IS NOT NULL
GROUP BY run_id, consumed_attempt, consumed_by HAVING count(*) > 1
LIMIT 20;

-- a_key_is_one_event --
SELECT f.run_id FROM fact AS f WHERE f.key IS NOT NULL
GROUP BY f.run_id, f.name, f.key HAVING count(*) > 1
LIMIT 20;

-- a_call_starts_one_child_while_its_parent_lives --
SELECT c.child_id FROM child AS c JOIN run AS r ON r.id = c.child_id
WHERE coalesce(r.parent_id, '') <> c.parent_id OR r.parent_attempt <> c.parent_attempt
UNION ALL SELECT child_id FROM child GROUP BY child_id HAVING count(*) > 1
UNION ALL SELECT r.id FROM run AS r JOIN run AS p ON p.id = r.parent_id
WHERE p.ended_at < r.created_at
LIMIT 20;

-- what_was_stopped_has_nothing_open --
SELECT r.id FROM run AS r JOIN task_attempt AS t ON t.run_id = r.id
WHERE r.status IN ('cancelled', 'failed') AND t.status = 'running'
LIMIT 20;

-- attempts_are_the_retries_plus_one_and_losses_stay_below_the_dead_letter --
SELECT r.id FROM run AS r WHERE r.attempt + CASE WHEN r.retry_pending THEN 1 ELSE 0 END <>
    (SELECT count(*) + 1 FROM transition AS t
     WHERE t.run_id = r.id AND t.status = 'waiting' AND t.reason = 'retry')
UNION ALL SELECT id FROM run WHERE alone_losses >= 3 AND status <> 'failed'
LIMIT 20;

-- an_ended_run_waits_for_nothing --
SELECT w.run_id FROM wait AS w JOIN run AS r ON r.id = w.run_id
WHERE r.ended_at IS NOT NULL
UNION ALL SELECT id FROM run WHERE ended_at IS NOT NULL AND wake_at IS NOT NULL
LIMIT 20;

-- a_family_is_of_one_namespace --
SELECT r.id FROM run AS r JOIN run AS p ON p.id = r.parent_id
WHERE p.namespace <> r.namespace
UNION ALL SELECT r.id FROM run AS r JOIN outbox AS o ON o.run_id = r.id
WHERE o.namespace <> r.namespace
LIMIT 20;

-- no_timer_was_early --
SELECT run_id FROM entry WHERE kind = 'timer' AND at < due_at
LIMIT 20;

-- a_call_has_one_entry --
SELECT run_id, attempt, address, ordinal FROM entry
GROUP BY run_id, attempt, address, ordinal HAVING count(*) > 1
LIMIT 20;

-- entries_have_no_gaps --
SELECT run_id FROM entry GROUP BY run_id, attempt
HAVING max(number) <> count(*) OR min(number) <> 1
LIMIT 20;

-- an_event_is_taken_once --
SELECT fact_id FROM entry WHERE fact_id IS NOT NULL
GROUP BY fact_id HAVING count(*) > 1
LIMIT 20;

-- an_end_is_on_record --
SELECT r.id FROM run AS r
WHERE (r.status IN ('completed', 'failed', 'cancelled')) <> (r.ended_at IS NOT NULL)
LIMIT 20;

-- what_belongs_to_a_run_has_one --
SELECT w.run_id FROM wait AS w LEFT JOIN run AS r ON r.id = w.run_id WHERE r.id IS NULL
UNION ALL SELECT e.run_id FROM entry AS e LEFT JOIN run AS r ON r.id = e.run_id WHERE r.id IS NULL
UNION ALL SELECT f.run_id FROM fact AS f LEFT JOIN run AS r ON r.id = f.run_id WHERE r.id IS NULL
UNION ALL SELECT t.run_id FROM ordering_turn AS t LEFT JOIN run AS r ON r.id = t.run_id
WHERE r.id IS NULL
LIMIT 20;

-- a_run_that_is_executed_has_a_worker_that_is_known --
SELECT r.id, r.holder FROM run AS r LEFT JOIN worker AS w ON w.incarnation = r.holder
WHERE r.status = 'running' AND w.incarnation IS NULL
LIMIT 20;

-- a_run_in_a_line_has_its_place_until_it_ends --
SELECT r.id FROM run AS r LEFT JOIN ordering_turn AS t ON t.run_id = r.id
WHERE r.status = 'awaiting_turn' AND t.run_id IS NULL
UNION ALL SELECT t.run_id FROM ordering_turn AS t JOIN run AS r ON r.id = t.run_id
WHERE r.ended_at IS NOT NULL
LIMIT 20;

-- the_first_of_a_line_does_not_wait_for_its_turn_and_the_others_do --
SELECT r.id, r.status FROM run AS r JOIN ordering_turn AS t ON t.run_id = r.id
JOIN (SELECT line, min(sequence) AS first FROM ordering_turn GROUP BY line) AS l ON l.line = t.line
WHERE (t.sequence = l.first AND r.status = 'awaiting_turn')
   OR (t.sequence > l.first AND r.status NOT IN ('awaiting_turn', 'paused'))
LIMIT 20;

-- a_line_knows_its_last_place --
SELECT t.line, t.run_id FROM ordering_turn AS t LEFT JOIN ordering_line AS l ON l.id = t.line
WHERE l.id IS NULL OR l.last_sequence < t.sequence
LIMIT 20;

-- an_end_has_the_result_that_its_status_asks_for --
SELECT r.id, p.kind FROM run AS r
LEFT JOIN run_payload AS p ON p.run_id = r.id AND p.kind IN ('output', 'failure')
WHERE (r.status = 'completed' AND coalesce(p.kind, '') <> 'output')
   OR (r.status IN ('failed', 'cancelled') AND coalesce(p.kind, '') <> 'failure')
   OR (r.ended_at IS NULL AND p.kind IS NOT NULL)
LIMIT 20;

-- a_completed_run_has_no_open_attempt --
SELECT r.id FROM run AS r JOIN task_attempt AS t ON t.run_id = r.id
WHERE r.status = 'completed' AND t.status = 'running'
LIMIT 20;

-- the_epochs_of_entries_never_go_back --
SELECT run_id FROM (
    SELECT run_id, epoch, lag(epoch) OVER (PARTITION BY run_id, attempt ORDER BY number)
        AS old_epoch FROM entry) AS step
WHERE old_epoch > epoch
LIMIT 20;

-- a_child_has_the_call_that_started_it --
SELECT r.id FROM run AS r JOIN run AS p ON p.id = r.parent_id
LEFT JOIN child AS c ON c.child_id = r.id AND c.parent_id = p.id
WHERE c.child_id IS NULL
UNION ALL SELECT c.child_id FROM child AS c LEFT JOIN run AS p ON p.id = c.parent_id
WHERE p.id IS NULL
UNION ALL SELECT c.child_id FROM child AS c JOIN wait AS w
ON w.run_id = c.parent_id AND w.kind = 'child' AND w.name = c.child_id
LEFT JOIN run AS r ON r.id = c.child_id
WHERE r.id IS NULL
LIMIT 20;

-- every_run_that_lined_up_has_its_turn_until_it_ends --
SELECT r.id FROM run AS r LEFT JOIN ordering_turn AS o ON o.run_id = r.id
WHERE r.ended_at IS NULL AND o.run_id IS NULL AND EXISTS (
    SELECT 1 FROM transition AS t WHERE t.run_id = r.id AND t.status = 'awaiting_turn')
LIMIT 20;

-- whoever_is_not_first_was_never_claimed --
SELECT r.id, r.status FROM run AS r JOIN ordering_turn AS t ON t.run_id = r.id
JOIN (SELECT line, min(sequence) AS sequence FROM ordering_turn GROUP BY line) AS l
ON l.line = t.line
WHERE t.sequence > l.sequence AND r.started_at IS NOT NULL
LIMIT 20;

-- the_rows_of_a_run_have_their_run --
SELECT a.run_id FROM task_attempt AS a LEFT JOIN run AS r ON r.id = a.run_id WHERE r.id IS NULL
UNION ALL
SELECT t.run_id FROM transition AS t LEFT JOIN run AS r ON r.id = t.run_id WHERE r.id IS NULL
UNION ALL
SELECT p.run_id FROM run_payload AS p LEFT JOIN run AS r ON r.id = p.run_id WHERE r.id IS NULL
LIMIT 20;

-- a_worker_holds_runs_of_its_own_namespace --
SELECT r.id FROM run AS r JOIN worker AS w ON w.incarnation = r.holder
WHERE r.status = 'running' AND w.namespace <> r.namespace
LIMIT 20;

-- nothing_is_overdue_while_workers_are_heard --
-- A worker that has been there for a minute was heard by a server later than a minute after the due:
-- so servers were there, and did not look after it. Of a site at rest nothing is said.
WITH heard AS (SELECT max(seen_at) - 60000 AS at FROM worker WHERE registered_at < seen_at - 60000)
SELECT r.id, r.wake_at FROM run AS r JOIN heard AS h ON r.wake_at < h.at
UNION ALL SELECT w.incarnation, w.lease_until FROM worker AS w JOIN heard AS h
ON w.lease_until < h.at WHERE w.status = 'alive'
UNION ALL SELECT r.id, w.lease_until FROM run AS r JOIN worker AS w ON w.incarnation = r.holder
JOIN heard AS h ON w.lease_until < h.at WHERE r.status = 'running' AND w.status <> 'alive'
LIMIT 20;

-- events_of_a_name_are_taken_in_the_order_of_their_arrival --
-- Of two that came within a minute nothing is said: transactions end in another order than they
-- begin.
WITH arrived AS (SELECT run_id, name, at,
    coalesce(consumed_attempt * 1000000000 + consumed_by, 1000000000000000000) AS place
    FROM fact WHERE kind = 'event'),
placed AS (SELECT run_id, name, place, max(place) OVER (PARTITION BY run_id, name ORDER BY at
    RANGE BETWEEN UNBOUNDED PRECEDING AND 60000 PRECEDING) AS earlier FROM arrived)
SELECT run_id, name FROM placed WHERE earlier > place
LIMIT 20;

-- the_children_of_a_stopped_run_are_asked_to_stop --
SELECT c.id, c.parent_id FROM run AS c JOIN fact AS f
ON f.run_id = c.parent_id AND f.kind = 'cancel' AND f.name = 'cancel'
WHERE c.ended_at IS NULL AND c.stop_cause IS NULL AND c.created_at < f.at
UNION ALL SELECT c.id, c.parent_id FROM run AS c JOIN transition AS t
ON t.run_id = c.parent_id AND t.status = 'cancelled' AND t.reason IN ('terminated', 'grace_over')
WHERE c.ended_at IS NULL AND c.stop_cause IS NULL AND c.created_at < t.at
LIMIT 20;

-- a_start_is_audited_once --
-- By the call that made it: one call may start many.
SELECT r.id, r.created_at FROM run AS r LEFT JOIN (SELECT DISTINCT namespace, at FROM audit
    WHERE operation IN ('StartRuns', 'RerunRun', 'RerunRuns', 'RedriveDeadLetter')) AS a
ON a.namespace = r.namespace AND a.at = r.created_at
WHERE r.parent_id IS NULL AND a.at IS NULL
UNION ALL SELECT object_id, at FROM audit WHERE operation = 'StartRuns'
AND detail LIKE '1 runs of %' GROUP BY object_id, at HAVING count(*) > 1
LIMIT 20;

-- a_worker_executes_runs_of_its_own_shards --
-- Each queue that workers of the same shards have executed runs of; they are judged by what they
-- registered.
SELECT min(r.id), r.shard, w.shards FROM transition AS t JOIN run AS r ON r.id = t.run_id
JOIN worker AS w ON w.incarnation = t.worker
WHERE t.status = 'running' GROUP BY r.shard, w.shards;

-- steps --
-- Which steps between statuses were taken, and by one run that took each.
WITH step AS (SELECT run_id, status, reason,
    lag(status) OVER (PARTITION BY run_id ORDER BY revision) AS old_status FROM transition)
SELECT min(run_id), old_status, status, reason FROM step GROUP BY old_status, status, reason;
