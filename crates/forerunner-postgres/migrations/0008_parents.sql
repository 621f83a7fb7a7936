-- The task whose agent submitted it, and how many tasks stand above it. Empty for one without a parent, whose depth is 0.
ALTER TABLE tasks ADD COLUMN parent uuid, ADD COLUMN depth bigint;
ALTER TABLE history ADD COLUMN parent uuid, ADD COLUMN depth bigint;
