-- Every noun of a workspace. Times are microseconds since the Unix epoch, UTC; *_ns are nanoseconds of a log's clock.
-- Paths below the workspace's root are relative to it, all others absolute. *_sha256 name a row of blobs.

-- Documents and snapshots that are written once and may be shared, by their content.
CREATE TABLE blobs (
    sha256 TEXT NOT NULL PRIMARY KEY CHECK (length(sha256) = 64),
    data BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE assets (
    id TEXT NOT NULL PRIMARY KEY,
    file_path TEXT NOT NULL UNIQUE CHECK (file_path <> ''),
    file_name TEXT NOT NULL,
    file_type TEXT NOT NULL CHECK (file_type <> '' AND file_type = lower(file_type)),
    file_size INTEGER NOT NULL CHECK (file_size >= 0),
    mtime_ns INTEGER NOT NULL,
    fingerprint TEXT,
    indexing_status TEXT NOT NULL DEFAULT 'pending'
        CHECK (indexing_status IN ('pending', 'indexing', 'indexed', 'failed')),
    registered_at INTEGER NOT NULL,
    last_indexed_at INTEGER,
    index_order INTEGER NOT NULL GENERATED ALWAYS AS (coalesce(last_indexed_at, 0)) VIRTUAL,
    -- Name, type and path, case folded; U+0001 stands for the root.
    search_text TEXT NOT NULL
) STRICT;
CREATE INDEX assets_by_registration ON assets (registered_at, id);
CREATE INDEX assets_by_name ON assets (file_name, id);
CREATE INDEX assets_by_size ON assets (file_size, id);
CREATE INDEX assets_by_index_time ON assets (index_order, id);
CREATE INDEX assets_by_status ON assets (indexing_status, registered_at, id);
CREATE INDEX assets_by_type ON assets (file_type, registered_at, id);
CREATE INDEX assets_by_fingerprint ON assets (fingerprint) WHERE fingerprint IS NOT NULL;

CREATE TABLE asset_metadata (
    asset_id TEXT NOT NULL PRIMARY KEY REFERENCES assets (id) ON DELETE CASCADE,
    duration REAL,
    start_ns INTEGER,
    end_ns INTEGER,
    message_count INTEGER NOT NULL DEFAULT 0 CHECK (message_count >= 0),
    topic_count INTEGER NOT NULL DEFAULT 0 CHECK (topic_count >= 0),
    sensor_types TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(sensor_types)),
    topics TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(topics)),
    default_episode TEXT CHECK (json_valid(default_episode)),
    raw_metadata TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(raw_metadata)),
    indexing_error TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX asset_metadata_by_duration ON asset_metadata (duration);
CREATE INDEX asset_metadata_by_start ON asset_metadata (start_ns);

CREATE TABLE tags (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    normalized_name TEXT NOT NULL UNIQUE CHECK (normalized_name <> ''),
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tags_by_name ON tags (name, id);

CREATE TABLE asset_tags (
    asset_id TEXT NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    tag_id TEXT NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (asset_id, tag_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX asset_tags_by_tag ON asset_tags (tag_id);

CREATE TABLE uploads (
    id TEXT NOT NULL PRIMARY KEY,
    status TEXT NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'committed', 'aborted')),
    file_name TEXT NOT NULL CHECK (file_name <> ''),
    file_path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    received_bytes INTEGER NOT NULL DEFAULT 0 CHECK (received_bytes BETWEEN 0 AND size_bytes),
    sha256 TEXT CHECK (length(sha256) = 64),
    asset_id TEXT REFERENCES assets (id) ON DELETE SET NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX uploads_by_asset ON uploads (asset_id) WHERE asset_id IS NOT NULL;
CREATE INDEX uploads_by_expiry ON uploads (expires_at) WHERE status = 'open';

CREATE TABLE conversion_configs (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    normalized_name TEXT NOT NULL UNIQUE CHECK (normalized_name <> ''),
    description TEXT,
    metadata TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    last_opened_at INTEGER
) STRICT;
CREATE INDEX conversion_configs_by_update ON conversion_configs (updated_at, id);
CREATE INDEX conversion_configs_by_name ON conversion_configs (name, id);

CREATE TABLE config_revisions (
    id TEXT NOT NULL PRIMARY KEY,
    config_id TEXT NOT NULL REFERENCES conversion_configs (id) ON DELETE CASCADE,
    revision_number INTEGER NOT NULL CHECK (revision_number >= 1),
    change_kind TEXT NOT NULL CHECK (change_kind IN ('create', 'update', 'duplicate', 'migration', 'import')),
    change_summary TEXT,
    document_sha256 TEXT NOT NULL REFERENCES blobs (sha256),
    document_version INTEGER NOT NULL CHECK (document_version >= 1),
    created_at INTEGER NOT NULL,
    UNIQUE (config_id, revision_number)
) STRICT;
CREATE INDEX config_revisions_by_document ON config_revisions (document_sha256);

CREATE TABLE drafts (
    id TEXT NOT NULL PRIMARY KEY,
    source_asset_id TEXT REFERENCES assets (id) ON DELETE SET NULL,
    status TEXT NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'confirmed', 'saved', 'discarded')),
    current_revision_id TEXT REFERENCES draft_revisions (id) DEFERRABLE INITIALLY DEFERRED,
    confirmed_revision_id TEXT REFERENCES draft_revisions (id) DEFERRABLE INITIALLY DEFERRED,
    saved_config_id TEXT REFERENCES conversion_configs (id) ON DELETE SET NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    discarded_at INTEGER,
    CHECK (status NOT IN ('confirmed', 'saved') OR confirmed_revision_id IS NOT NULL),
    CHECK ((status = 'discarded') = (discarded_at IS NOT NULL))
) STRICT;
CREATE INDEX drafts_by_update ON drafts (updated_at, id);
CREATE INDEX drafts_by_current_revision ON drafts (current_revision_id);
CREATE INDEX drafts_by_confirmed_revision ON drafts (confirmed_revision_id);
CREATE INDEX drafts_by_asset ON drafts (source_asset_id);
CREATE INDEX drafts_by_config ON drafts (saved_config_id);

CREATE TABLE draft_revisions (
    id TEXT NOT NULL PRIMARY KEY,
    draft_id TEXT NOT NULL REFERENCES drafts (id) ON DELETE CASCADE,
    revision_number INTEGER NOT NULL CHECK (revision_number >= 1),
    label TEXT,
    document_sha256 TEXT NOT NULL REFERENCES blobs (sha256),
    document_version INTEGER NOT NULL CHECK (document_version >= 1),
    inspection_request TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(inspection_request)),
    inspection_sha256 TEXT REFERENCES blobs (sha256),
    draft_request TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(draft_request)),
    draft_result_sha256 TEXT REFERENCES blobs (sha256),
    preview_request TEXT CHECK (json_valid(preview_request)),
    preview_sha256 TEXT REFERENCES blobs (sha256),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (draft_id, revision_number),
    CHECK ((preview_request IS NULL) = (preview_sha256 IS NULL))
) STRICT;
CREATE INDEX draft_revisions_by_document ON draft_revisions (document_sha256);
CREATE INDEX draft_revisions_by_inspection ON draft_revisions (inspection_sha256);
CREATE INDEX draft_revisions_by_result ON draft_revisions (draft_result_sha256);
CREATE INDEX draft_revisions_by_preview ON draft_revisions (preview_sha256);

CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    type TEXT NOT NULL CHECK (type IN ('index', 'convert', 'analyze')),
    status TEXT NOT NULL DEFAULT 'queued' CHECK (
        status IN ('queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled', 'interrupted')
    ),
    priority INTEGER NOT NULL DEFAULT 0,
    config TEXT NOT NULL CHECK (json_valid(config)),
    payload TEXT NOT NULL CHECK (json_valid(payload)),
    representation_policy TEXT CHECK (json_valid(representation_policy)),
    output_path TEXT,
    conversion_id TEXT REFERENCES conversions (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    max_attempts INTEGER NOT NULL CHECK (max_attempts >= 1),
    retry_of TEXT REFERENCES jobs (id) ON DELETE SET NULL,
    progress TEXT CHECK (json_valid(progress)),
    error TEXT CHECK (json_valid(error)),
    signal TEXT,
    -- The sidecar that runs it, its worker process and when that sidecar was last heard of.
    owner TEXT,
    worker_pid INTEGER,
    heartbeat_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    CHECK (status NOT IN ('running', 'cancelling') OR owner IS NOT NULL),
    CHECK ((status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL))
) STRICT;
CREATE INDEX jobs_by_creation ON jobs (created_at, id);
CREATE INDEX jobs_by_update ON jobs (updated_at, id);
CREATE INDEX jobs_by_status ON jobs (status, created_at, id);
CREATE INDEX jobs_by_type ON jobs (type, created_at, id);
CREATE INDEX jobs_queue ON jobs (-priority, created_at) WHERE status = 'queued';
CREATE INDEX jobs_by_owner ON jobs (owner) WHERE status IN ('running', 'cancelling');
CREATE INDEX jobs_by_conversion ON jobs (conversion_id) WHERE conversion_id IS NOT NULL;
CREATE INDEX jobs_by_predecessor ON jobs (retry_of) WHERE retry_of IS NOT NULL;

CREATE TABLE job_assets (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position INTEGER NOT NULL CHECK (position >= 0),
    asset_id TEXT NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    PRIMARY KEY (job_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_assets_by_asset ON job_assets (asset_id, job_id);

CREATE TABLE job_attempts (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    owner TEXT NOT NULL,
    worker_pid INTEGER,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,
    outcome TEXT CHECK (outcome IN ('succeeded', 'failed', 'cancelled', 'interrupted', 'queued')),
    error TEXT CHECK (json_valid(error)),
    signal TEXT,
    PRIMARY KEY (job_id, attempt),
    CHECK ((outcome IS NULL) = (finished_at IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE conversions (
    id TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL UNIQUE REFERENCES jobs (id) ON DELETE CASCADE,
    config TEXT NOT NULL CHECK (json_valid(config)),
    representation_policy TEXT CHECK (json_valid(representation_policy)),
    image_payload_contract TEXT GENERATED ALWAYS AS (representation_policy ->> '$.image_payload_contract') VIRTUAL,
    legacy_compatible INTEGER GENERATED ALWAYS AS (
        instr(representation_policy ->> '$.compatibility_markers', '"legacy_list_image_payload"') > 0
    ) VIRTUAL,
    output_path TEXT NOT NULL,
    saved_config_id TEXT REFERENCES conversion_configs (id) ON DELETE SET NULL,
    saved_config_revision_id TEXT REFERENCES config_revisions (id) ON DELETE SET NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX conversions_by_creation ON conversions (created_at, id);
CREATE INDEX conversions_by_contract ON conversions (image_payload_contract, created_at, id);
CREATE INDEX conversions_by_config ON conversions (saved_config_id) WHERE saved_config_id IS NOT NULL;
CREATE INDEX conversions_by_config_revision ON conversions (saved_config_revision_id)
    WHERE saved_config_revision_id IS NOT NULL;

CREATE TABLE conversion_assets (
    conversion_id TEXT NOT NULL REFERENCES conversions (id) ON DELETE CASCADE,
    position INTEGER NOT NULL CHECK (position >= 0),
    asset_id TEXT NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    PRIMARY KEY (conversion_id, position),
    UNIQUE (conversion_id, asset_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX conversion_assets_by_asset ON conversion_assets (asset_id, conversion_id);

CREATE TABLE outputs (
    id TEXT NOT NULL PRIMARY KEY,
    conversion_id TEXT NOT NULL REFERENCES conversions (id) ON DELETE CASCADE,
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    path TEXT NOT NULL UNIQUE CHECK (path <> ''),
    relative_path TEXT NOT NULL,
    file_name TEXT NOT NULL,
    format TEXT NOT NULL CHECK (format <> ''),
    role TEXT NOT NULL CHECK (role IN ('dataset', 'manifest', 'report', 'sidecar')),
    media_type TEXT,
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    row_count INTEGER NOT NULL DEFAULT 0 CHECK (row_count >= 0),
    sha256 TEXT CHECK (length(sha256) = 64),
    availability_status TEXT NOT NULL DEFAULT 'ready'
        CHECK (availability_status IN ('ready', 'missing', 'invalid')),
    manifest_sha256 TEXT REFERENCES blobs (sha256),
    -- Name, relative path, format, role and conversion id, case folded.
    search_text TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX outputs_by_creation ON outputs (created_at, id);
CREATE INDEX outputs_by_name ON outputs (file_name, id);
CREATE INDEX outputs_by_size ON outputs (size_bytes, id);
CREATE INDEX outputs_by_conversion ON outputs (conversion_id, created_at, id);
CREATE INDEX outputs_by_job ON outputs (job_id);
CREATE INDEX outputs_by_format ON outputs (format, created_at, id);
CREATE INDEX outputs_by_role ON outputs (role, created_at, id);
CREATE INDEX outputs_by_availability ON outputs (availability_status, created_at, id);
CREATE INDEX outputs_by_manifest ON outputs (manifest_sha256) WHERE manifest_sha256 IS NOT NULL;

CREATE TABLE output_assets (
    output_id TEXT NOT NULL REFERENCES outputs (id) ON DELETE CASCADE,
    position INTEGER NOT NULL CHECK (position >= 0),
    asset_id TEXT NOT NULL REFERENCES assets (id) ON DELETE CASCADE,
    PRIMARY KEY (output_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX output_assets_by_asset ON output_assets (asset_id, output_id);
