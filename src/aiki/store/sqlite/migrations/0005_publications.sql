-- Where the messages went that announced ready runs; of use as long as the outbox has their rows.

CREATE TABLE publication (
    run_id TEXT PRIMARY KEY,
    ready_at INTEGER NOT NULL,
    entry TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    published_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
