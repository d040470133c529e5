-- wait_for_others --
-- One process at a time, until its session ends.
SELECT GET_LOCK(CONCAT('aiki migrations ', LEFT(SHA2(DATABASE(), 256), 40)), ?1);

-- has_migrations --
SELECT COUNT(*) FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name = 'schema_migration';

-- create_migrations --
-- A version with the empty statement is complete.
CREATE TABLE IF NOT EXISTS schema_migration (
    version INT NOT NULL,
    statement VARBINARY(200) NOT NULL,
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (version, statement)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;

-- schema_version --
SELECT COALESCE(MAX(version), 0) FROM schema_migration WHERE statement = '';

-- recorded --
SELECT statement FROM schema_migration WHERE version = ?1;

-- record --
INSERT INTO schema_migration (version, statement, applied_at)
VALUES (?1, ?2, FLOOR(UNIX_TIMESTAMP(NOW(6)) * 1000));
