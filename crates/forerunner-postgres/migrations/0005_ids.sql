-- While a transaction keeps dead rows, the planner takes a table of few live rows for an empty one, in which all ways are
-- equally short, and goes by the newest index that has the column anywhere: `tasks_by_state`, read from end to end.
CREATE UNIQUE INDEX tasks_by_id ON tasks (id);
ALTER TABLE tasks DROP CONSTRAINT tasks_id_key;
