-- How attempts went that did not succeed, as an array of objects: the newest ten of each task. They go with its row.
ALTER TABLE tasks ADD COLUMN attempts jsonb;
ALTER TABLE history ADD COLUMN attempts jsonb;

CREATE FUNCTION with_attempt(known jsonb, record jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN known IS NULL THEN jsonb_build_array(record)
        WHEN jsonb_array_length(known) >= 10 THEN (known - 0) || jsonb_build_array(record)
        ELSE known || jsonb_build_array(record)
    END
$$;
