-- Who comes after whom: of the runs of a line, all of one ordering key, only the first is executed.

CREATE TABLE ordering_line (
    id TEXT COLLATE "C" PRIMARY KEY,
    last_sequence BIGINT NOT NULL
);

CREATE TABLE ordering_turn (
    run_id TEXT COLLATE "C" PRIMARY KEY,
    line TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL
);

CREATE UNIQUE INDEX ordering_turn_next ON ordering_turn (line, sequence);
