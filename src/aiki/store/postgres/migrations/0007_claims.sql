-- A claim begins with one round trip: the worker's lease, and what was granted to this claim before.

CREATE FUNCTION aiki_open_claim(
    text, text, text, bigint, OUT instant bigint, OUT known boolean, OUT granted text[]
) LANGUAGE plpgsql AS $$
BEGIN
    -- Whoever repeats a claim at another server waits here until the first is decided; each
    -- statement of a function sees what was committed before it begins.
    PERFORM FROM worker WHERE namespace = $1 AND incarnation = $2
        AND status NOT IN ('stopped', 'lost') FOR NO KEY UPDATE;
    known := FOUND;
    instant := greatest($4, aiki_now());
    IF known THEN
        UPDATE worker SET lease_until = instant + lease_ms, seen_at = instant
        WHERE incarnation = $2;
        granted := ARRAY(SELECT id FROM run WHERE holder = $2 AND status = 'running'
                         AND namespace = $1 AND claim_id = $3);
    END IF;
END $$;
