-- Who comes after whom: of the runs of a line, all of one ordering key, only the first is executed.

CREATE TABLE ordering_line (
    id TEXT PRIMARY KEY,
    last_sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE ordering_turn (
    run_id TEXT PRIMARY KEY,
    line TEXT NOT NULL,
    sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX ordering_turn_next ON ordering_turn (line, sequence);
