-- One row a task that has not ended, in `live`; one row a task that has, in `ended`. Every statement here changes the
-- catalogue, or takes time for the backlog alone. `migration.rs` then moves the rows in batches, and drops `old_*`.

ALTER TABLE tasks RENAME TO old_tasks;
ALTER TABLE inputs RENAME TO old_inputs;
ALTER TABLE outputs RENAME TO old_outputs;
ALTER TABLE ready RENAME TO old_ready;
ALTER TABLE context_queue RENAME TO old_context_queue;
ALTER INDEX context_queue_pkey RENAME TO old_context_queue_pkey;
ALTER TABLE context_costs RENAME TO old_context_costs;
ALTER TABLE events RENAME TO old_events;
ALTER INDEX events_pkey RENAME TO old_events_pkey;
ALTER INDEX events_of_agents RENAME TO old_events_of_agents;
ALTER INDEX events_of_states RENAME TO old_events_of_states;
ALTER TABLE tasks_with_events RENAME TO old_tasks_with_events;
ALTER INDEX tasks_with_events_pkey RENAME TO old_tasks_with_events_pkey;
ALTER TABLE damaged RENAME TO old_damaged;
ALTER INDEX damaged_pkey RENAME TO old_damaged_pkey;
ALTER INDEX damaged_id_key RENAME TO old_damaged_id_key;
CREATE INDEX old_ready_by_task ON old_ready (task);
CREATE INDEX old_context_queue_by_task ON old_context_queue (task);

-- A task that has not ended. No index names a column that a lease changes: state, attempt, crashes, epoch, started_at,
-- agent, node, cancel_epoch, preferred_node, preferred_until. So a lease is a HOT update, for which pages have room.
CREATE TABLE live (
    id uuid NOT NULL,
    pool text NOT NULL,
    queue_key bytea,       -- its place in the queue; none if it is delayed, behind another of its context, or asks
    due bigint NOT NULL,   -- when it became due for the first time
    state smallint NOT NULL,
    priority smallint NOT NULL,
    run_at bigint NOT NULL,
    attempt bigint NOT NULL,
    crashes bigint NOT NULL,
    epoch bigint NOT NULL,
    started_at bigint,
    finished_at bigint,    -- always empty
    deadline bigint,
    agent uuid,
    node uuid,
    cancel_epoch bigint,   -- the lease under which somebody cancelled it
    preferred_node uuid,   -- the node to which it is left until preferred_until
    preferred_until bigint,
    has_events boolean NOT NULL DEFAULT false,
    submitted_at bigint,
    timeout bigint,
    max_attempts bigint,
    max_crashes bigint,
    backoff_initial bigint,
    backoff_max bigint,
    depth bigint,
    parent uuid,
    tenant text NOT NULL,
    input text,
    context text,
    spec text,
    labels text,
    label_pairs text[],
    key text,
    error_kind text,
    error text,
    requests text,
    report text,
    cost text,             -- what its context took, as JSON
    attempts jsonb,
    wakes_at bigint GENERATED ALWAYS AS (CASE WHEN state = 0 THEN run_at END) STORED
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05
);

CREATE UNIQUE INDEX live_by_id ON live (id);
CREATE UNIQUE INDEX live_in_order ON live (pool, queue_key);
CREATE INDEX live_by_wake ON live (pool, wakes_at) WHERE wakes_at IS NOT NULL;
CREATE INDEX live_by_deadline ON live (pool, deadline) WHERE deadline IS NOT NULL;
CREATE INDEX live_by_context ON live (context, id) WHERE context IS NOT NULL;
-- The task of each context that may be claimed, or that runs: a lease leaves the key of the queue as it is.
CREATE INDEX live_with_key_by_context ON live (context) WHERE context IS NOT NULL AND queue_key IS NOT NULL;
CREATE INDEX live_by_label ON live USING gin (label_pairs) WHERE label_pairs IS NOT NULL;

-- The unfinished tasks of each context. Rank 1 became due, 2 waits for its first `run_at`.
CREATE TABLE context_queue (
    pool text NOT NULL,
    context text NOT NULL,
    rank smallint NOT NULL,
    due bigint NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (pool, context, rank, due, id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000);

CREATE TABLE events (
    id uuid NOT NULL,
    seq bigint NOT NULL,
    at bigint NOT NULL,
    kind smallint NOT NULL,
    attempt bigint,
    error_kind text,
    text text,
    PRIMARY KEY (id, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);

-- The tasks that ended a moment ago and have events of their agents, which stay in `events` for that moment.
CREATE TABLE tasks_with_events (
    finished_at bigint NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (finished_at, id)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);

CREATE TABLE damaged (
    id uuid PRIMARY KEY,
    was smallint NOT NULL,
    reason text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now()
);

-- Running tasks that somebody cancelled, for the nodes that run them.
CREATE TABLE cancellations (
    node uuid NOT NULL,
    id uuid NOT NULL,
    PRIMARY KEY (node, id)
);

-- When somebody found that a node whose lease had ended has no task any more.
ALTER TABLE nodes ADD COLUMN cleared_at bigint;

ALTER TABLE history RENAME TO ended;
ALTER TABLE history_rest RENAME TO ended_rest;
ALTER INDEX history_by_id RENAME TO ended_by_id;
ALTER INDEX history_by_context RENAME TO ended_by_context;
ALTER INDEX history_by_label RENAME TO ended_by_label;
ALTER INDEX history_rest_by_end RENAME TO ended_rest_by_end;
-- Most tasks succeed; the others are found by their state. `migration.rs` makes the indexes of the partitions.
DROP INDEX history_by_state;
CREATE INDEX ended_not_succeeded ON ONLY ended (pool, state, id) WHERE state <> 3;
ALTER TABLE ended
    ALTER COLUMN task DROP NOT NULL,
    ALTER COLUMN submitted_at DROP NOT NULL,
    ALTER COLUMN timeout DROP NOT NULL,
    ALTER COLUMN max_attempts DROP NOT NULL,
    ALTER COLUMN max_crashes DROP NOT NULL,
    ALTER COLUMN backoff_initial DROP NOT NULL,
    ALTER COLUMN backoff_max DROP NOT NULL,
    ALTER COLUMN input DROP NOT NULL;
