-- Who may call the API: what each key may do and the hash of it, as JSON. No key itself is here. The revision differs
-- after each change. The day counts from 1970-01-01.
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    definition TEXT NOT NULL,
    last_used_day INTEGER
) STRICT;
