-- publication --
-- Where the messages went that announced ready runs; of use as long as the outbox has their rows.
CREATE TABLE IF NOT EXISTS publication (
    run_id VARBINARY(200) PRIMARY KEY,
    ready_at BIGINT NOT NULL,
    entry VARBINARY(200) NOT NULL,
    incarnation VARBINARY(200) NOT NULL,
    published_at BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;
