-- Lists differ in the filter that leads, which is an index's: pages stay cheap however many
-- runs have ended. The cursor is never NULL in a comparison, so that it bounds the index too. Rows
-- are compared, and ordered by what leads and ids, because no other index has that order: by ids
-- alone, the few runs of a namespace or a workflow would be looked for among all.

-- list_all_newest --
SELECT id FROM run
WHERE (namespace, id) < ($1, coalesce($2, U&'\+10FFFF'))
  AND (namespace, id) > ($1, '')
  AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR version = $4)
  AND ($5::text[] IS NULL OR status = ANY ($5))
  AND ($6::text IS NULL OR reference_id = $6) AND ($7::text IS NULL OR parent_id = $7)
  AND ($8::text IS NULL OR shard = $8)
  AND ($9::bigint IS NULL OR created_at >= $9) AND ($10::bigint IS NULL OR created_at < $10)
ORDER BY namespace DESC, id DESC LIMIT $11;

-- list_all_oldest --
SELECT id FROM run
WHERE (namespace, id) > ($1, coalesce($2, ''))
  AND (namespace, id) < ($1, U&'\+10FFFF')
  AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR version = $4)
  AND ($5::text[] IS NULL OR status = ANY ($5))
  AND ($6::text IS NULL OR reference_id = $6) AND ($7::text IS NULL OR parent_id = $7)
  AND ($8::text IS NULL OR shard = $8)
  AND ($9::bigint IS NULL OR created_at >= $9) AND ($10::bigint IS NULL OR created_at < $10)
ORDER BY namespace, id LIMIT $11;

-- list_workflow_newest --
SELECT id FROM run
WHERE namespace = $1
  AND (workflow, id) < ($3, coalesce($2, U&'\+10FFFF')) AND (workflow, id) > ($3, '')
  AND ($4::text IS NULL OR version = $4)
  AND ($5::text[] IS NULL OR status = ANY ($5))
  AND ($6::text IS NULL OR reference_id = $6) AND ($7::text IS NULL OR parent_id = $7)
  AND ($8::text IS NULL OR shard = $8)
  AND ($9::bigint IS NULL OR created_at >= $9) AND ($10::bigint IS NULL OR created_at < $10)
ORDER BY workflow DESC, id DESC LIMIT $11;

-- list_workflow_oldest --
SELECT id FROM run
WHERE namespace = $1
  AND (workflow, id) > ($3, coalesce($2, '')) AND (workflow, id) < ($3, U&'\+10FFFF')
  AND ($4::text IS NULL OR version = $4)
  AND ($5::text[] IS NULL OR status = ANY ($5))
  AND ($6::text IS NULL OR reference_id = $6) AND ($7::text IS NULL OR parent_id = $7)
  AND ($8::text IS NULL OR shard = $8)
  AND ($9::bigint IS NULL OR created_at >= $9) AND ($10::bigint IS NULL OR created_at < $10)
ORDER BY workflow, id LIMIT $11;

-- list_open_newest --
SELECT id FROM run
WHERE (namespace, id) < ($1, coalesce($2, U&'\+10FFFF'))
  AND (namespace, id) > ($1, '')
  AND ended_at IS NULL
  AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR version = $4)
  AND ($5::text[] IS NULL OR status = ANY ($5))
  AND ($6::text IS NULL OR reference_id = $6) AND ($7::text IS NULL OR parent_id = $7)
  AND ($8::text IS NULL OR shard = $8)
  AND ($9::bigint IS NULL OR created_at >= $9) AND ($10::bigint IS NULL OR created_at < $10)
ORDER BY namespace DESC, id DESC LIMIT $11;

-- list_open_oldest --
SELECT id FROM run
WHERE (namespace, id) > ($1, coalesce($2, ''))
  AND (namespace, id) < ($1, U&'\+10FFFF')
  AND ended_at IS NULL
  AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR version = $4)
  AND ($5::text[] IS NULL OR status = ANY ($5))
  AND ($6::text IS NULL OR reference_id = $6) AND ($7::text IS NULL OR parent_id = $7)
  AND ($8::text IS NULL OR shard = $8)
  AND ($9::bigint IS NULL OR created_at >= $9) AND ($10::bigint IS NULL OR created_at < $10)
ORDER BY namespace, id LIMIT $11;

-- list_failed_newest --
SELECT id FROM run
WHERE (namespace, id) < ($1, coalesce($2, U&'\+10FFFF'))
  AND (namespace, id) > ($1, '')
  AND status IN ('failed', 'cancelled')
  AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR version = $4)
  AND ($5::text[] IS NULL OR status = ANY ($5))
  AND ($6::text IS NULL OR reference_id = $6) AND ($7::text IS NULL OR parent_id = $7)
  AND ($8::text IS NULL OR shard = $8)
  AND ($9::bigint IS NULL OR created_at >= $9) AND ($10::bigint IS NULL OR created_at < $10)
ORDER BY namespace DESC, id DESC LIMIT $11;

-- list_failed_oldest --
SELECT id FROM run
WHERE (namespace, id) > ($1, coalesce($2, ''))
  AND (namespace, id) < ($1, U&'\+10FFFF')
  AND status IN ('failed', 'cancelled')
  AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR version = $4)
  AND ($5::text[] IS NULL OR status = ANY ($5))
  AND ($6::text IS NULL OR reference_id = $6) AND ($7::text IS NULL OR parent_id = $7)
  AND ($8::text IS NULL OR shard = $8)
  AND ($9::bigint IS NULL OR created_at >= $9) AND ($10::bigint IS NULL OR created_at < $10)
ORDER BY namespace, id LIMIT $11;

-- list_parent_newest --
SELECT id FROM run
WHERE namespace = $1 AND id < coalesce($2, U&'\+10FFFF')
  AND parent_id = $7
  AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR version = $4)
  AND ($5::text[] IS NULL OR status = ANY ($5))
  AND ($6::text IS NULL OR reference_id = $6)
  AND ($8::text IS NULL OR shard = $8)
  AND ($9::bigint IS NULL OR created_at >= $9) AND ($10::bigint IS NULL OR created_at < $10)
ORDER BY id DESC LIMIT $11;

-- list_parent_oldest --
SELECT id FROM run
WHERE namespace = $1 AND id > coalesce($2, '')
  AND parent_id = $7
  AND ($3::text IS NULL OR workflow = $3) AND ($4::text IS NULL OR version = $4)
  AND ($5::text[] IS NULL OR status = ANY ($5))
  AND ($6::text IS NULL OR reference_id = $6)
  AND ($8::text IS NULL OR shard = $8)
  AND ($9::bigint IS NULL OR created_at >= $9) AND ($10::bigint IS NULL OR created_at < $10)
ORDER BY id LIMIT $11;

-- list_reference_newest --
SELECT id FROM (
    SELECT * FROM run
    WHERE namespace = $1 AND workflow = $3 AND reference_id = $6 OFFSET 0) AS named
WHERE id < coalesce($2, U&'\+10FFFF')
  AND ($4::text IS NULL OR version = $4)
  AND ($5::text[] IS NULL OR status = ANY ($5))
  AND ($7::text IS NULL OR parent_id = $7)
  AND ($8::text IS NULL OR shard = $8)
  AND ($9::bigint IS NULL OR created_at >= $9) AND ($10::bigint IS NULL OR created_at < $10)
ORDER BY id DESC LIMIT $11;

-- list_reference_oldest --
SELECT id FROM (
    SELECT * FROM run
    WHERE namespace = $1 AND workflow = $3 AND reference_id = $6 OFFSET 0) AS named
WHERE id > coalesce($2, '')
  AND ($4::text IS NULL OR version = $4)
  AND ($5::text[] IS NULL OR status = ANY ($5))
  AND ($7::text IS NULL OR parent_id = $7)
  AND ($8::text IS NULL OR shard = $8)
  AND ($9::bigint IS NULL OR created_at >= $9) AND ($10::bigint IS NULL OR created_at < $10)
ORDER BY id LIMIT $11;
