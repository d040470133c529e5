-- What one server at a time does for all: who does it, and until when unless it says so again.

CREATE TABLE duty (
    name TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT COLLATE "C" NOT NULL,
    held_until BIGINT NOT NULL
);
