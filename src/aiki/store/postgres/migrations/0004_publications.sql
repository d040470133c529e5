-- Where the messages went that announced ready runs; of use as long as the outbox has their rows.

CREATE TABLE publication (
    run_id TEXT COLLATE "C" PRIMARY KEY,
    ready_at BIGINT NOT NULL,
    entry TEXT COLLATE "C" NOT NULL,
    incarnation TEXT COLLATE "C" NOT NULL,
    published_at BIGINT NOT NULL
);
