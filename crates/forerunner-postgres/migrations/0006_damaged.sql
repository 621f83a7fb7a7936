-- Tasks whose rows cannot be read: state 8 in `tasks` or `history`. `was` is the state in which each was found, `reason` what could
-- not be read. Once the rows are repaired, `forerunner task retry` takes a task back from here.
CREATE TABLE damaged (
    task bigint PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    was smallint NOT NULL,
    reason text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now()
);
