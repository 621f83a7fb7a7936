-- What submits tasks by itself: its definition and how far it is, both JSON. The revision differs after each change.
CREATE TABLE schedules (
    name TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    definition TEXT NOT NULL,
    state TEXT NOT NULL
) STRICT;
