-- Every statement here changes the schema alone, and takes no longer for more rows.
--
-- Names that an operator reads: the queue of each context, settings, idempotency keys, what frames name.
ALTER TABLE line RENAME TO context_queue;
ALTER TABLE notes RENAME TO settings;
ALTER TABLE keys RENAME TO idempotency_keys;
ALTER TABLE pieces RENAME TO shared_objects;
ALTER TABLE shared_objects RENAME COLUMN piece TO object;
ALTER TABLE piece_uses RENAME TO shared_object_uses;
ALTER TABLE shared_object_uses RENAME COLUMN piece TO object;

-- State -1: the task waits for the answer to what its agent asked. States below 2 wait, states below 3 have not ended.
-- `requests` is what was asked, with the answers once there are some. `report` is what the end of a task adds to its
-- result, `spec` what the submission says besides what the queue needs: each a JSON object, so that a new value needs no
-- new column.
ALTER TABLE tasks ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
ALTER TABLE tasks ADD COLUMN requests TEXT;
ALTER TABLE tasks ADD COLUMN report TEXT;
ALTER TABLE inputs ADD COLUMN spec TEXT;
