-- What submits tasks by itself: its definition and how far it is, both JSON. The revision differs after each change.
CREATE TABLE schedules (
    name text PRIMARY KEY,
    revision bigint NOT NULL,
    definition text NOT NULL,
    state text NOT NULL
);
