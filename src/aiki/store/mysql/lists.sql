-- Lists differ in the filter that leads, which is an index's: pages stay cheap however many runs
-- have ended. A filter that is not given is a NULL, which the server drops before it plans.

-- list_all_newest --
SELECT id FROM run FORCE INDEX (run_newest)
WHERE namespace = ?1 AND (?2 IS NULL OR id < ?2)
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR FIND_IN_SET(status, ?5))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id DESC LIMIT ?11;

-- list_all_oldest --
SELECT id FROM run FORCE INDEX (run_newest)
WHERE namespace = ?1 AND (?2 IS NULL OR id > ?2)
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR FIND_IN_SET(status, ?5))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id LIMIT ?11;

-- list_workflow_newest --
SELECT id FROM run FORCE INDEX (run_workflow)
WHERE namespace = ?1 AND (?2 IS NULL OR id < ?2)
  AND workflow = ?3
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR FIND_IN_SET(status, ?5))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id DESC LIMIT ?11;

-- list_workflow_oldest --
SELECT id FROM run FORCE INDEX (run_workflow)
WHERE namespace = ?1 AND (?2 IS NULL OR id > ?2)
  AND workflow = ?3
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR FIND_IN_SET(status, ?5))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id LIMIT ?11;

-- list_open_newest --
SELECT id FROM run FORCE INDEX (run_phase)
WHERE namespace = ?1 AND (?2 IS NULL OR id < ?2)
  AND phase = 0
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR FIND_IN_SET(status, ?5))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id DESC LIMIT ?11;

-- list_open_oldest --
SELECT id FROM run FORCE INDEX (run_phase)
WHERE namespace = ?1 AND (?2 IS NULL OR id > ?2)
  AND phase = 0
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR FIND_IN_SET(status, ?5))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id LIMIT ?11;

-- list_failed_newest --
SELECT id FROM run FORCE INDEX (run_phase)
WHERE namespace = ?1 AND (?2 IS NULL OR id < ?2)
  AND phase = 1
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR FIND_IN_SET(status, ?5))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id DESC LIMIT ?11;

-- list_failed_oldest --
SELECT id FROM run FORCE INDEX (run_phase)
WHERE namespace = ?1 AND (?2 IS NULL OR id > ?2)
  AND phase = 1
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR FIND_IN_SET(status, ?5))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id LIMIT ?11;

-- list_parent_newest --
SELECT id FROM run FORCE INDEX (run_parent)
WHERE namespace = ?1 AND (?2 IS NULL OR id < ?2)
  AND parent_id = ?7
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR FIND_IN_SET(status, ?5))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id DESC LIMIT ?11;

-- list_parent_oldest --
SELECT id FROM run FORCE INDEX (run_parent)
WHERE namespace = ?1 AND (?2 IS NULL OR id > ?2)
  AND parent_id = ?7
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR FIND_IN_SET(status, ?5))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id LIMIT ?11;

-- list_reference_newest --
SELECT id FROM run FORCE INDEX (run_reference)
WHERE namespace = ?1 AND (?2 IS NULL OR id < ?2)
  AND workflow = ?3 AND reference_id = ?6
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR FIND_IN_SET(status, ?5))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id DESC LIMIT ?11;

-- list_reference_oldest --
SELECT id FROM run FORCE INDEX (run_reference)
WHERE namespace = ?1 AND (?2 IS NULL OR id > ?2)
  AND workflow = ?3 AND reference_id = ?6
  AND (?3 IS NULL OR workflow = ?3) AND (?4 IS NULL OR version = ?4)
  AND (?5 IS NULL OR FIND_IN_SET(status, ?5))
  AND (?6 IS NULL OR reference_id = ?6) AND (?7 IS NULL OR parent_id = ?7)
  AND (?8 IS NULL OR shard = ?8)
  AND (?9 IS NULL OR created_at >= ?9) AND (?10 IS NULL OR created_at < ?10)
ORDER BY id LIMIT ?11;
