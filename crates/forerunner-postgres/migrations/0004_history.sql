-- Tasks that have ended, each as one row, by the time of their end: dropped a partition at a time, as docs/adr/0019 says.
-- Those that ended under an earlier version stay in `tasks` and its neighbours until their retention is over.
CREATE TABLE history (
    task bigint NOT NULL,
    id uuid NOT NULL,
    pool text NOT NULL,
    state smallint NOT NULL,
    context text,
    priority smallint NOT NULL,
    due bigint NOT NULL,
    run_at bigint NOT NULL,
    deadline bigint,
    attempt bigint NOT NULL,
    crashes bigint NOT NULL,
    epoch bigint NOT NULL,
    started_at bigint,
    finished_at bigint NOT NULL,
    agent uuid,
    node uuid,
    error_kind text,
    error text,
    submitted_at bigint NOT NULL,
    timeout bigint NOT NULL,
    max_attempts bigint NOT NULL,
    max_crashes bigint NOT NULL,
    backoff_initial bigint NOT NULL,
    backoff_max bigint NOT NULL,
    input text NOT NULL,
    labels text,
    label_pairs text[],
    key text,
    output text,
    cost text,  -- what its context took, as JSON
    log jsonb   -- how attempts before the last one went: arrays of seq, at, kind, attempt, error_kind, text
) PARTITION BY RANGE (finished_at);

CREATE INDEX history_by_id ON history (id);
CREATE INDEX history_by_state ON history (pool, state, id);
CREATE INDEX history_by_context ON history (context, id) WHERE context IS NOT NULL;
CREATE INDEX history_by_label ON history USING gin (label_pairs) WHERE label_pairs IS NOT NULL;

-- What ends when no partition is there for it. Its rows are deleted one by one, so there should be few.
CREATE TABLE history_rest PARTITION OF history DEFAULT;
CREATE INDEX history_rest_by_end ON history_rest (finished_at);

-- The tasks that ended a moment ago and whose agents said something, which is kept in `events` for that moment.
CREATE TABLE spoken (
    finished_at bigint NOT NULL,
    task bigint NOT NULL,
    PRIMARY KEY (finished_at, task)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);

CREATE INDEX events_logged ON events (task) WHERE kind < 8;

-- Rows of inputs now go when their task ends.
ALTER TABLE inputs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);
