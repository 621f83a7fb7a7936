-- Every statement here changes the catalogue alone, and takes no longer for more rows.
--
-- Names that an operator reads: the queue of each context, settings, idempotency keys, tasks whose agents' events are
-- still in `events`, what frames name.
ALTER TABLE line RENAME TO context_queue;
ALTER INDEX line_pkey RENAME TO context_queue_pkey;
ALTER INDEX line_runs_one RENAME TO context_queue_runs_one;
ALTER TABLE notes RENAME TO settings;
ALTER INDEX notes_pkey RENAME TO settings_pkey;
ALTER TABLE keys RENAME TO idempotency_keys;
ALTER INDEX keys_pkey RENAME TO idempotency_keys_pkey;
ALTER TABLE spoken RENAME TO tasks_with_events;
ALTER INDEX spoken_pkey RENAME TO tasks_with_events_pkey;
ALTER INDEX events_said RENAME TO events_of_agents;
ALTER INDEX events_logged RENAME TO events_of_states;
ALTER TABLE pieces RENAME TO shared_objects;
ALTER TABLE shared_objects RENAME COLUMN piece TO object;
ALTER INDEX pieces_pkey RENAME TO shared_objects_pkey;
ALTER INDEX pieces_pool_kind_name_key RENAME TO shared_objects_pool_kind_name_key;
ALTER SEQUENCE pieces_piece_seq RENAME TO shared_objects_object_seq;
ALTER TABLE piece_uses RENAME TO shared_object_uses;
ALTER TABLE shared_object_uses RENAME COLUMN piece TO object;
ALTER INDEX piece_uses_pkey RENAME TO shared_object_uses_pkey;

-- The node to which a claimable task is left for a moment, and the lease under which a task was cancelled.
ALTER TABLE ready RENAME COLUMN prefers TO preferred_node;
ALTER TABLE ready RENAME COLUMN prefers_until TO preferred_until;
ALTER TABLE tasks RENAME COLUMN stop_epoch TO cancel_epoch;
ALTER INDEX tasks_stopping RENAME TO tasks_to_cancel;

-- State -1: the task waits for the answer to what its agent asked. States below 2 wait, states below 3 have not ended.
-- `requests` is what was asked, with the answers once there are some. `report` is what the end of a task adds to its
-- result, `spec` what the submission says besides what the queue needs: each a JSON object, so that a new value needs no
-- new column.
ALTER TABLE tasks ADD COLUMN tenant text NOT NULL DEFAULT 'default', ADD COLUMN requests text, ADD COLUMN report text;
ALTER TABLE inputs ADD COLUMN spec text;
ALTER TABLE history ADD COLUMN tenant text NOT NULL DEFAULT 'default', ADD COLUMN requests text, ADD COLUMN report text,
    ADD COLUMN spec text;
