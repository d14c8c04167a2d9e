-- Jobs that wait: for a time (an interrupted one, tried again not before it), and for other jobs.
ALTER TABLE jobs ADD COLUMN not_before INTEGER;

CREATE TABLE job_needs (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    needs_job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (job_id, needs_job_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_needs_by_needed ON job_needs (needs_job_id);

-- What happened to a job and what its workers said, line by line; the oldest lines make room for new ones.
CREATE TABLE job_logs (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number >= 1),
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    at INTEGER NOT NULL,
    level TEXT NOT NULL CHECK (level IN ('info', 'warning', 'error')),
    source TEXT NOT NULL CHECK (source IN ('sidecar', 'worker')),
    text TEXT NOT NULL,
    PRIMARY KEY (job_id, number)
) STRICT, WITHOUT ROWID;

-- What a conversion has finished of one log, by all that decides its bytes; files as they were published.
CREATE TABLE finished (
    conversion_id TEXT NOT NULL REFERENCES conversions (id) ON DELETE CASCADE,
    asset_id TEXT NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    key TEXT NOT NULL CHECK (length(key) = 64),
    files TEXT NOT NULL CHECK (json_valid(files)),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (conversion_id, asset_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX finished_by_key ON finished (key, created_at);
CREATE INDEX finished_by_asset ON finished (asset_id);

-- Which assets have changed in what searches ask for, in the order of the changes; the last ten thousand.
CREATE TABLE asset_changes (
    n INTEGER NOT NULL PRIMARY KEY,
    asset INTEGER NOT NULL
) STRICT;
CREATE TRIGGER asset_changes_insert AFTER INSERT ON asset_changes BEGIN
    DELETE FROM asset_changes WHERE n <= new.n - 10000;
END;
CREATE TRIGGER assets_change_insert AFTER INSERT ON assets BEGIN
    INSERT INTO asset_changes (asset) VALUES (new.registered_at);
END;
CREATE TRIGGER assets_change_update AFTER UPDATE OF
    file_name, file_type, file_size, indexing_status, last_indexed_at, duration, start_ns, search_text ON assets
BEGIN
    INSERT INTO asset_changes (asset) VALUES (new.registered_at);
END;
CREATE TRIGGER assets_change_delete AFTER DELETE ON assets BEGIN
    INSERT INTO asset_changes (asset) VALUES (old.registered_at);
END;
CREATE TRIGGER asset_tags_change_insert AFTER INSERT ON asset_tags BEGIN
    INSERT INTO asset_changes (asset) VALUES (new.asset);
END;
CREATE TRIGGER asset_tags_change_delete AFTER DELETE ON asset_tags BEGIN
    INSERT INTO asset_changes (asset) VALUES (old.asset);
END;

-- What filters ask for stands in the orders, so that what does not pass is left out without being looked up.
DROP INDEX jobs_by_update;
CREATE INDEX jobs_by_update ON jobs (updated_at, id, created_at, type, status);
DROP INDEX outputs_by_creation;
DROP INDEX outputs_by_name;
DROP INDEX outputs_by_size;
CREATE INDEX outputs_by_creation ON outputs (created_at, id, format, role, availability_status);
CREATE INDEX outputs_by_name ON outputs (file_name, id, format, role, availability_status);
CREATE INDEX outputs_by_size ON outputs (size_bytes, id, format, role, availability_status);
CREATE INDEX outputs_by_traits ON outputs (format, role, availability_status);
CREATE INDEX outputs_by_format_and_availability ON outputs (format, availability_status);
CREATE INDEX outputs_by_role_and_availability ON outputs (role, availability_status);
