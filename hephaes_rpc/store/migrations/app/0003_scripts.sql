-- Scripts that the user of this machine lets run, as they were then; a workspace that comes from elsewhere brings none.
CREATE TABLE enabled_scripts (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    path TEXT NOT NULL CHECK (path <> ''),
    sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
    registered_at INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, path)
) STRICT, WITHOUT ROWID;
