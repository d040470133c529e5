-- ordering_line --
-- Who comes after whom: of the runs of a line, all of one ordering key, only the first is executed.
CREATE TABLE IF NOT EXISTS ordering_line (
    id VARBINARY(200) PRIMARY KEY,
    last_sequence BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;

-- ordering_turn --
CREATE TABLE IF NOT EXISTS ordering_turn (
    run_id VARBINARY(200) PRIMARY KEY,
    line VARBINARY(200) NOT NULL,
    sequence BIGINT NOT NULL,
    UNIQUE INDEX ordering_turn_next (line, sequence)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;
