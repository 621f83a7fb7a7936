-- Times are microseconds since 1970-01-01T00:00:00Z, durations microseconds, ids the 16 bytes of a UUID.
-- States: 0 scheduled, 1 queued, 2 running, 3 succeeded, 4 failed, 5 cancelled, 6 expired, 7 dead.

CREATE TABLE meta (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    epoch_floor INTEGER NOT NULL, -- every epoch handed out from now on is greater
    clean INTEGER NOT NULL,       -- 1 when the store was closed properly
    beat INTEGER NOT NULL         -- counts checks
) STRICT;

INSERT INTO meta VALUES (1, 0, 1, 0);

CREATE TABLE pools (
    pool INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE nodes (
    node BLOB PRIMARY KEY,
    lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What changes during a task's life: narrow, since it is written three times. `task` counts submissions.
CREATE TABLE tasks (
    task INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    pool INTEGER NOT NULL,
    state INTEGER NOT NULL,
    context TEXT,
    priority INTEGER NOT NULL,
    due INTEGER NOT NULL,         -- when it became due for the first time: its place in every order
    run_at INTEGER NOT NULL,
    deadline INTEGER,
    attempt INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    agent BLOB,
    node BLOB,
    error_kind TEXT,
    error TEXT
) STRICT;

CREATE UNIQUE INDEX tasks_by_id ON tasks (id);
CREATE INDEX tasks_by_state ON tasks (pool, state, id);
CREATE INDEX tasks_by_context ON tasks (context, id) WHERE context IS NOT NULL;
CREATE INDEX tasks_by_run_at ON tasks (pool, run_at) WHERE state = 0;
CREATE INDEX tasks_by_deadline ON tasks (pool, deadline) WHERE deadline IS NOT NULL AND state < 2;
CREATE INDEX tasks_by_end ON tasks (finished_at) WHERE finished_at IS NOT NULL;

-- What never changes: wide, written once.
CREATE TABLE inputs (
    task INTEGER PRIMARY KEY,
    submitted_at INTEGER NOT NULL,
    timeout INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    max_crashes INTEGER NOT NULL,
    backoff_initial INTEGER NOT NULL,
    backoff_max INTEGER NOT NULL,
    input TEXT NOT NULL,
    labels TEXT,                  -- a JSON object, absent when empty
    key TEXT
) STRICT;

CREATE TABLE outputs (
    task INTEGER PRIMARY KEY,
    output TEXT NOT NULL
) STRICT;

CREATE TABLE keys (
    pool INTEGER NOT NULL,
    key TEXT NOT NULL,
    task INTEGER NOT NULL,
    fingerprint BLOB,
    PRIMARY KEY (pool, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE labels (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (key, value, id)
) STRICT, WITHOUT ROWID;

-- The claimable tasks, in the order in which they are claimed. `urgency` is 9 - priority.
CREATE TABLE ready (
    pool INTEGER NOT NULL,
    urgency INTEGER NOT NULL,
    due INTEGER NOT NULL,
    task INTEGER NOT NULL,
    deadline INTEGER,
    PRIMARY KEY (pool, urgency, due, task)
) STRICT, WITHOUT ROWID;

-- The unfinished tasks of each context. Rank 0 runs, 1 became due, 2 waits for its first `run_at`.
CREATE TABLE line (
    pool INTEGER NOT NULL,
    context TEXT NOT NULL,
    rank INTEGER NOT NULL,
    due INTEGER NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (pool, context, rank, due, task)
) STRICT, WITHOUT ROWID;

CREATE TABLE contexts (
    context INTEGER PRIMARY KEY,
    pool INTEGER NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    items INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (pool, name)
) STRICT;

CREATE TABLE frames (
    frame INTEGER PRIMARY KEY,
    context INTEGER NOT NULL,
    version INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    UNIQUE (context, version)
) STRICT;

CREATE TABLE notes (
    key TEXT PRIMARY KEY,
    text TEXT NOT NULL
) STRICT, WITHOUT ROWID;
