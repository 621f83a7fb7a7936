-- Tasks whose rows cannot be read: state 8 in `tasks`. `was` is the state in which each was found, `reason` what could not be read.
-- Once the rows are repaired, `forerunner task retry` takes a task back from here.
CREATE TABLE damaged (
    task INTEGER PRIMARY KEY,
    was INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
