-- A running task whose lease has this epoch was cancelled: its node is to stop it, and nobody runs it again.
ALTER TABLE tasks ADD COLUMN stop_epoch bigint;
CREATE INDEX tasks_stopping ON tasks (node) WHERE state = 2 AND stop_epoch IS NOT NULL;

-- What happened to tasks, as far as their rows do not tell: what agents said, and how attempts before the last one went.
-- `seq` holds the epoch in its upper bits. Kinds: the states, then 8 progress, 9 output.
CREATE TABLE events (
    task bigint NOT NULL,
    seq bigint NOT NULL,
    at bigint NOT NULL,
    kind smallint NOT NULL,
    attempt bigint,
    error_kind text,
    text text,
    PRIMARY KEY (task, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);

CREATE INDEX events_said ON events (task) WHERE kind >= 8;

-- The node that committed the newest version, which may hold it warm.
ALTER TABLE contexts ADD COLUMN node uuid;

-- A claimable task whose context another node holds warm is left to that node until some time.
ALTER TABLE ready ADD COLUMN prefers uuid, ADD COLUMN prefers_until bigint;
