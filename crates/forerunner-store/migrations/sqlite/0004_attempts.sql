-- How attempts went that did not succeed, as a JSON array: the newest ones of each task.
CREATE TABLE attempts (
    task INTEGER PRIMARY KEY,
    records TEXT NOT NULL
) STRICT;
