-- duty --
-- What one server at a time does for all: who does it, and until when unless it says so again.
CREATE TABLE IF NOT EXISTS duty (
    name VARBINARY(200) PRIMARY KEY,
    holder VARBINARY(200) NOT NULL,
    held_until BIGINT NOT NULL
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4;
