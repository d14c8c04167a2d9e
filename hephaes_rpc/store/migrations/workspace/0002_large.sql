-- Lists, searches and sums that stay fast with a million assets.

-- The time of registration is an asset's number: unique, so that every index of assets ends in the order of the list,
-- and the search index and the tags speak of assets in that order too.
CREATE TABLE new_assets (
    registered_at INTEGER NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    file_path TEXT NOT NULL UNIQUE CHECK (file_path <> ''),
    file_name TEXT NOT NULL,
    file_type TEXT NOT NULL CHECK (file_type <> '' AND file_type = lower(file_type)),
    file_size INTEGER NOT NULL CHECK (file_size >= 0),
    mtime_ns INTEGER NOT NULL,
    fingerprint TEXT,
    indexing_status TEXT NOT NULL DEFAULT 'pending'
        CHECK (indexing_status IN ('pending', 'indexing', 'indexed', 'failed')),
    -- The file is no longer the one that was indexed.
    is_stale INTEGER NOT NULL DEFAULT 0 CHECK (is_stale IN (0, 1)),
    last_indexed_at INTEGER,
    index_order INTEGER NOT NULL GENERATED ALWAYS AS (coalesce(last_indexed_at, 0)) VIRTUAL,
    duration REAL,
    start_ns INTEGER,
    -- Name, type and path, case folded; U+0001 twice stands for the root.
    search_text TEXT NOT NULL
) STRICT;
INSERT INTO new_assets (registered_at, id, file_path, file_name, file_type, file_size, mtime_ns, fingerprint,
    indexing_status, last_indexed_at, duration, start_ns, search_text)
SELECT
    n + max(registered_at - n) OVER (ORDER BY n),
    id, file_path, file_name, file_type, file_size, mtime_ns, fingerprint, indexing_status, last_indexed_at,
    duration, start_ns, replace(search_text, char(1), char(1, 1))
FROM (
    SELECT a.*, m.duration, m.start_ns, row_number() OVER (ORDER BY a.registered_at, a.id) AS n
    FROM assets a LEFT JOIN asset_metadata m ON m.asset_id = a.id
)
ORDER BY n;

CREATE TABLE new_asset_tags (
    tag_id TEXT NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    asset INTEGER NOT NULL REFERENCES assets (registered_at) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tag_id, asset)
) STRICT, WITHOUT ROWID;
INSERT INTO new_asset_tags (tag_id, asset, created_at)
SELECT x.tag_id, a.registered_at, x.created_at FROM asset_tags x JOIN new_assets a ON a.id = x.asset_id;

DROP TABLE asset_tags;
DROP TABLE assets;
ALTER TABLE new_assets RENAME TO assets;
ALTER TABLE new_asset_tags RENAME TO asset_tags;
DROP INDEX asset_metadata_by_duration;
DROP INDEX asset_metadata_by_start;
ALTER TABLE asset_metadata DROP COLUMN duration;
ALTER TABLE asset_metadata DROP COLUMN start_ns;

CREATE INDEX assets_by_name ON assets (file_name, id);
CREATE INDEX assets_by_size ON assets (file_size, id);
CREATE INDEX assets_by_index_time ON assets (index_order, id);
CREATE INDEX assets_by_status ON assets (indexing_status);
CREATE INDEX assets_by_status_and_index_time ON assets (indexing_status, index_order, id);
CREATE INDEX assets_by_type ON assets (file_type);
CREATE INDEX assets_by_duration ON assets (duration) WHERE duration IS NOT NULL;
CREATE INDEX assets_by_start ON assets (start_ns) WHERE start_ns IS NOT NULL;
CREATE INDEX assets_by_fingerprint ON assets (fingerprint) WHERE fingerprint IS NOT NULL;
CREATE INDEX assets_by_traits ON assets (indexing_status, file_type, file_size, duration, start_ns);
CREATE INDEX assets_to_index ON assets (registered_at)
    WHERE indexing_status IN ('pending', 'failed') OR last_indexed_at IS NULL;
CREATE INDEX asset_tags_by_asset ON asset_tags (asset);

CREATE VIRTUAL TABLE assets_search USING fts5 (
    search_text, content = 'assets', content_rowid = 'registered_at', columnsize = 0, tokenize = 'trigram case_sensitive 1'
);
INSERT INTO assets_search (assets_search) VALUES ('rebuild');
CREATE TRIGGER assets_search_insert AFTER INSERT ON assets BEGIN
    INSERT INTO assets_search (rowid, search_text) VALUES (new.registered_at, new.search_text);
END;
CREATE TRIGGER assets_search_delete AFTER DELETE ON assets BEGIN
    INSERT INTO assets_search (assets_search, rowid, search_text)
    VALUES ('delete', old.registered_at, old.search_text);
END;
CREATE TRIGGER assets_search_update AFTER UPDATE OF search_text ON assets BEGIN
    INSERT INTO assets_search (assets_search, rowid, search_text)
    VALUES ('delete', old.registered_at, old.search_text);
    INSERT INTO assets_search (rowid, search_text) VALUES (new.registered_at, new.search_text);
END;

CREATE INDEX jobs_by_type_and_status ON jobs (type, status, created_at, id);
CREATE INDEX jobs_of_conversions_by_update ON jobs (updated_at) WHERE conversion_id IS NOT NULL;
CREATE INDEX jobs_failed ON jobs (finished_at) WHERE status = 'failed';
CREATE INDEX conversions_by_update ON conversions (updated_at);
CREATE INDEX outputs_by_update ON outputs (updated_at);

ALTER TABLE tags ADD COLUMN asset_count INTEGER NOT NULL DEFAULT 0 CHECK (asset_count >= 0);
UPDATE tags SET asset_count = (SELECT count(*) FROM asset_tags x WHERE x.tag_id = tags.id);
CREATE INDEX tags_by_creation ON tags (created_at, id);
CREATE INDEX tags_by_asset_count ON tags (asset_count, id);
CREATE TRIGGER asset_tags_insert AFTER INSERT ON asset_tags BEGIN
    UPDATE tags SET asset_count = asset_count + 1 WHERE id = new.tag_id;
END;
CREATE TRIGGER asset_tags_delete AFTER DELETE ON asset_tags BEGIN
    UPDATE tags SET asset_count = asset_count - 1 WHERE id = old.tag_id;
END;

-- What the dashboard tells: how many there are of each kind, and how many came in which hour since the Unix epoch.
CREATE TABLE counters (
    noun TEXT NOT NULL CHECK (noun IN ('assets', 'jobs', 'conversions', 'output_formats', 'outputs')),
    key TEXT NOT NULL,
    n INTEGER NOT NULL CHECK (n >= 0),
    size_bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (noun, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE hours (
    series TEXT NOT NULL
        CHECK (series IN ('assets', 'job_failures', 'conversions', 'conversion_failures', 'outputs')),
    hour INTEGER NOT NULL,
    n INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (series, hour)
) STRICT, WITHOUT ROWID;

INSERT INTO counters (noun, key, n, size_bytes)
SELECT 'assets', indexing_status, count(*), sum(file_size) FROM assets GROUP BY indexing_status
UNION ALL SELECT 'jobs', status, count(*), 0 FROM jobs GROUP BY status
UNION ALL SELECT 'conversions', j.status, count(*), 0 FROM conversions c JOIN jobs j ON j.id = c.job_id GROUP BY j.status
UNION ALL SELECT 'output_formats', format, count(*), 0 FROM outputs GROUP BY format
UNION ALL SELECT 'outputs', availability_status, count(*), sum(size_bytes) FROM outputs GROUP BY availability_status;
INSERT INTO hours (series, hour, n)
SELECT 'assets', registered_at / 3600000000, count(*) FROM assets GROUP BY 2
UNION ALL SELECT 'job_failures', finished_at / 3600000000, count(*) FROM jobs WHERE status = 'failed' GROUP BY 2
UNION ALL SELECT 'conversions', created_at / 3600000000, count(*) FROM conversions GROUP BY 2
UNION ALL SELECT 'conversion_failures', j.finished_at / 3600000000, count(*)
    FROM conversions c JOIN jobs j ON j.id = c.job_id WHERE j.status = 'failed' GROUP BY 2
UNION ALL SELECT 'outputs', created_at / 3600000000, count(*) FROM outputs GROUP BY 2;

CREATE TRIGGER assets_count_insert AFTER INSERT ON assets BEGIN
    INSERT INTO counters (noun, key, n, size_bytes) VALUES ('assets', new.indexing_status, 1, new.file_size)
        ON CONFLICT (noun, key) DO UPDATE SET n = n + 1, size_bytes = size_bytes + excluded.size_bytes;
    INSERT INTO hours (series, hour, n) VALUES ('assets', new.registered_at / 3600000000, 1)
        ON CONFLICT (series, hour) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER assets_count_delete AFTER DELETE ON assets BEGIN
    UPDATE counters SET n = n - 1, size_bytes = size_bytes - old.file_size
        WHERE noun = 'assets' AND key = old.indexing_status;
    UPDATE hours SET n = n - 1 WHERE series = 'assets' AND hour = old.registered_at / 3600000000;
END;
CREATE TRIGGER assets_count_update AFTER UPDATE OF indexing_status, file_size ON assets BEGIN
    UPDATE counters SET n = n - 1, size_bytes = size_bytes - old.file_size
        WHERE noun = 'assets' AND key = old.indexing_status;
    INSERT INTO counters (noun, key, n, size_bytes) VALUES ('assets', new.indexing_status, 1, new.file_size)
        ON CONFLICT (noun, key) DO UPDATE SET n = n + 1, size_bytes = size_bytes + excluded.size_bytes;
END;

CREATE TRIGGER jobs_count_insert AFTER INSERT ON jobs BEGIN
    INSERT INTO counters (noun, key, n) VALUES ('jobs', new.status, 1)
        ON CONFLICT (noun, key) DO UPDATE SET n = n + 1;
    INSERT INTO hours (series, hour, n)
        SELECT 'job_failures', new.finished_at / 3600000000, 1 WHERE new.status = 'failed'
        ON CONFLICT (series, hour) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER jobs_count_delete BEFORE DELETE ON jobs BEGIN
    UPDATE counters SET n = n - 1 WHERE noun = 'jobs' AND key = old.status;
    UPDATE hours SET n = n - 1
        WHERE series = 'job_failures' AND hour = old.finished_at / 3600000000 AND old.status = 'failed';
    UPDATE counters SET n = n - 1 WHERE noun = 'conversions' AND key = old.status
        AND EXISTS (SELECT 1 FROM conversions WHERE job_id = old.id);
    UPDATE hours SET n = n - 1
        WHERE series = 'conversion_failures' AND hour = old.finished_at / 3600000000 AND old.status = 'failed'
        AND EXISTS (SELECT 1 FROM conversions WHERE job_id = old.id);
END;
CREATE TRIGGER jobs_count_update AFTER UPDATE OF status ON jobs WHEN new.status <> old.status BEGIN
    UPDATE counters SET n = n - 1 WHERE noun = 'jobs' AND key = old.status;
    INSERT INTO counters (noun, key, n) VALUES ('jobs', new.status, 1)
        ON CONFLICT (noun, key) DO UPDATE SET n = n + 1;
    UPDATE counters SET n = n - 1 WHERE noun = 'conversions' AND key = old.status
        AND EXISTS (SELECT 1 FROM conversions WHERE job_id = new.id);
    INSERT INTO counters (noun, key, n) SELECT 'conversions', new.status, 1 FROM conversions WHERE job_id = new.id
        ON CONFLICT (noun, key) DO UPDATE SET n = n + 1;
    UPDATE hours SET n = n - 1
        WHERE series = 'job_failures' AND hour = old.finished_at / 3600000000 AND old.status = 'failed';
    UPDATE hours SET n = n - 1
        WHERE series = 'conversion_failures' AND hour = old.finished_at / 3600000000 AND old.status = 'failed'
        AND EXISTS (SELECT 1 FROM conversions WHERE job_id = new.id);
    INSERT INTO hours (series, hour, n)
        SELECT 'job_failures', new.finished_at / 3600000000, 1 WHERE new.status = 'failed'
        ON CONFLICT (series, hour) DO UPDATE SET n = n + 1;
    INSERT INTO hours (series, hour, n)
        SELECT 'conversion_failures', new.finished_at / 3600000000, 1 FROM conversions
        WHERE job_id = new.id AND new.status = 'failed'
        ON CONFLICT (series, hour) DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER conversions_count_insert AFTER INSERT ON conversions BEGIN
    INSERT INTO counters (noun, key, n) SELECT 'conversions', status, 1 FROM jobs WHERE id = new.job_id
        ON CONFLICT (noun, key) DO UPDATE SET n = n + 1;
    INSERT INTO hours (series, hour, n) VALUES ('conversions', new.created_at / 3600000000, 1)
        ON CONFLICT (series, hour) DO UPDATE SET n = n + 1;
    INSERT INTO hours (series, hour, n)
        SELECT 'conversion_failures', finished_at / 3600000000, 1 FROM jobs WHERE id = new.job_id AND status = 'failed'
        ON CONFLICT (series, hour) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER conversions_count_delete BEFORE DELETE ON conversions BEGIN
    UPDATE counters SET n = n - 1
        WHERE noun = 'conversions' AND key = (SELECT status FROM jobs WHERE id = old.job_id);
    UPDATE hours SET n = n - 1 WHERE series = 'conversions' AND hour = old.created_at / 3600000000;
    UPDATE hours SET n = n - 1 WHERE series = 'conversion_failures'
        AND hour = (SELECT finished_at / 3600000000 FROM jobs WHERE id = old.job_id AND status = 'failed');
END;
CREATE TRIGGER conversions_count_update AFTER UPDATE OF job_id ON conversions WHEN new.job_id <> old.job_id BEGIN
    UPDATE counters SET n = n - 1
        WHERE noun = 'conversions' AND key = (SELECT status FROM jobs WHERE id = old.job_id);
    UPDATE hours SET n = n - 1 WHERE series = 'conversion_failures'
        AND hour = (SELECT finished_at / 3600000000 FROM jobs WHERE id = old.job_id AND status = 'failed');
    INSERT INTO counters (noun, key, n) SELECT 'conversions', status, 1 FROM jobs WHERE id = new.job_id
        ON CONFLICT (noun, key) DO UPDATE SET n = n + 1;
    INSERT INTO hours (series, hour, n)
        SELECT 'conversion_failures', finished_at / 3600000000, 1 FROM jobs WHERE id = new.job_id AND status = 'failed'
        ON CONFLICT (series, hour) DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER outputs_count_insert AFTER INSERT ON outputs BEGIN
    INSERT INTO counters (noun, key, n) VALUES ('output_formats', new.format, 1)
        ON CONFLICT (noun, key) DO UPDATE SET n = n + 1;
    INSERT INTO counters (noun, key, n, size_bytes) VALUES ('outputs', new.availability_status, 1, new.size_bytes)
        ON CONFLICT (noun, key) DO UPDATE SET n = n + 1, size_bytes = size_bytes + excluded.size_bytes;
    INSERT INTO hours (series, hour, n) VALUES ('outputs', new.created_at / 3600000000, 1)
        ON CONFLICT (series, hour) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER outputs_count_delete AFTER DELETE ON outputs BEGIN
    UPDATE counters SET n = n - 1 WHERE noun = 'output_formats' AND key = old.format;
    UPDATE counters SET n = n - 1, size_bytes = size_bytes - old.size_bytes
        WHERE noun = 'outputs' AND key = old.availability_status;
    UPDATE hours SET n = n - 1 WHERE series = 'outputs' AND hour = old.created_at / 3600000000;
END;
CREATE TRIGGER outputs_count_update AFTER UPDATE OF format, availability_status, size_bytes ON outputs BEGIN
    UPDATE counters SET n = n - 1 WHERE noun = 'output_formats' AND key = old.format;
    INSERT INTO counters (noun, key, n) VALUES ('output_formats', new.format, 1)
        ON CONFLICT (noun, key) DO UPDATE SET n = n + 1;
    UPDATE counters SET n = n - 1, size_bytes = size_bytes - old.size_bytes
        WHERE noun = 'outputs' AND key = old.availability_status;
    INSERT INTO counters (noun, key, n, size_bytes) VALUES ('outputs', new.availability_status, 1, new.size_bytes)
        ON CONFLICT (noun, key) DO UPDATE SET n = n + 1, size_bytes = size_bytes + excluded.size_bytes;
END;

-- What has been done once and for all, such as the import of an older program's database.
CREATE TABLE milestones (
    key TEXT NOT NULL PRIMARY KEY CHECK (key IN ('legacy_import')),
    reached_at INTEGER NOT NULL
) STRICT;

-- How many transactions have changed a noun, by which a process tells the changes of others from its own.
CREATE TABLE revisions (
    noun TEXT NOT NULL PRIMARY KEY,
    n INTEGER NOT NULL
) STRICT;
