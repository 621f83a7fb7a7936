-- The task whose agent submitted it, and how many tasks stand above it. Empty for one without a parent, whose depth is 0.
ALTER TABLE tasks ADD COLUMN parent BLOB;
ALTER TABLE tasks ADD COLUMN depth INTEGER;
