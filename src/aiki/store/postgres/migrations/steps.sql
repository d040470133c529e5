-- create_schema --
DO $$
BEGIN
    EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', current_setting('aiki.schema'));
END $$;

-- choose_schema --
-- For the rest of the transaction, all that is named is in this schema.
SELECT set_config('aiki.schema', $1, true), set_config('search_path', $1, true);

-- has_schema --
SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1);

-- wait_for_others --
-- One process at a time, until its transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended('aiki migrations ' || coalesce($1, ''), 0));

-- has_migrations --
SELECT to_regclass('schema_migration') IS NOT NULL;

-- create_migrations --
CREATE TABLE schema_migration (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at BIGINT NOT NULL
);

-- schema_version --
SELECT coalesce(max(version), 0) FROM schema_migration;

-- record_migration --
INSERT INTO schema_migration (version, name, applied_at)
VALUES ($1, $2, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint);
