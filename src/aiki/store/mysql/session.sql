-- settle --
-- For every session: instants in UTC, texts by their bytes, no value bent to fit its column, the
-- backslash as escape; and no lock held for long by whoever froze.
SET NAMES utf8mb4 COLLATE utf8mb4_bin;
SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION',
    time_zone = '+00:00', wait_timeout = ?1, innodb_lock_wait_timeout = ?2, lock_wait_timeout = 60;

-- settle_writer --
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;

-- settle_reader --
SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;

-- settle_holder --
-- It lives as long as its process: pings come more often than this.
SET SESSION wait_timeout = 30;

-- settle_mariadb --
-- Seconds. A join that collects rows in a buffer would lock, and answer, in another order.
SET SESSION max_statement_time = ?1, join_cache_level = 0;

-- settle_mysql --
-- Seconds, of what only reads; and joins as above.
SET SESSION max_execution_time = 1000 * ?1,
    optimizer_switch = 'block_nested_loop=off,batched_key_access=off';

-- packet_bytes --
SELECT @@max_allowed_packet;

-- ping --
DO 0;

-- hold_presence --
-- Waits for whoever looks just now whether the lock is free, or for an earlier session's end.
SELECT GET_LOCK(CONCAT('aiki ', LEFT(SHA2(CONCAT(DATABASE(), ' ', ?1), 256), 40)), 3);

-- leave_presence --
DO RELEASE_LOCK(CONCAT('aiki ', LEFT(SHA2(CONCAT(DATABASE(), ' ', ?1), 256), 40)));

-- announce --
INSERT INTO announced (incarnation, server, at)
VALUES (?1, CONCAT(@@hostname, ':', @@port), FLOOR(UNIX_TIMESTAMP(NOW(6)) * 1000))
ON DUPLICATE KEY UPDATE server = VALUES(server);

-- withdraw --
DELETE FROM announced WHERE incarnation = ?1;

-- free_presences --
-- A lock is known to the server where it was taken alone.
SELECT a.incarnation
FROM JSON_TABLE(?1, '$[*]' COLUMNS (id VARCHAR(1300) CHARACTER SET utf8mb4 PATH '$')) AS wanted
STRAIGHT_JOIN announced AS a ON a.incarnation = CAST(wanted.id AS BINARY)
WHERE a.server = CONCAT(@@hostname, ':', @@port)
  AND IS_FREE_LOCK(CONCAT('aiki ', LEFT(SHA2(CONCAT(DATABASE(), ' ', a.incarnation), 256), 40)));
