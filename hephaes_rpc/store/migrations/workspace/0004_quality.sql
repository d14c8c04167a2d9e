-- What is wrong with logs: a score, how bad the worst finding is (0 none, 1 info, 2 warning, 3 error), and which kinds
-- of findings there are, a bit for each in the order of the kinds.
ALTER TABLE assets ADD COLUMN score INTEGER CHECK (score BETWEEN 0 AND 100);
ALTER TABLE assets ADD COLUMN severity INTEGER NOT NULL DEFAULT 0 CHECK (severity BETWEEN 0 AND 3);
ALTER TABLE assets ADD COLUMN finding_kinds INTEGER NOT NULL DEFAULT 0;
CREATE INDEX assets_by_score ON assets (score) WHERE score IS NOT NULL;
CREATE INDEX assets_by_severity ON assets (severity) WHERE severity > 0;

CREATE TABLE asset_quality (
    asset_id TEXT NOT NULL PRIMARY KEY REFERENCES assets (id) ON DELETE CASCADE,
    basis TEXT NOT NULL CHECK (basis IN ('index', 'messages')),
    content_fingerprint TEXT,
    reasons TEXT NOT NULL CHECK (json_valid(reasons)),
    topics TEXT NOT NULL CHECK (json_valid(topics)),
    judged_at INTEGER NOT NULL
) STRICT;
CREATE INDEX asset_quality_by_content ON asset_quality (content_fingerprint) WHERE content_fingerprint IS NOT NULL;

CREATE TABLE findings (
    asset_id TEXT NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number >= 0),
    kind TEXT NOT NULL,
    severity TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'error')),
    topic TEXT,
    field TEXT,
    start_ns INTEGER,
    end_ns INTEGER,
    numbers TEXT NOT NULL CHECK (json_valid(numbers)),
    message TEXT NOT NULL,
    PRIMARY KEY (asset_id, number)
) STRICT, WITHOUT ROWID;

DROP TRIGGER assets_change_update;
CREATE TRIGGER assets_change_update AFTER UPDATE OF
    file_name, file_type, file_size, indexing_status, last_indexed_at, duration, start_ns, search_text, score, severity,
    finding_kinds ON assets
BEGIN
    INSERT INTO asset_changes (asset) VALUES (new.registered_at);
END;
