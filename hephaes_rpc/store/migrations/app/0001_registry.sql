-- Known workspaces and which of them is active. Times are microseconds since the Unix epoch, UTC.
-- Everything else about a workspace follows from its root and is looked at when asked for.
CREATE TABLE workspaces (
    id TEXT NOT NULL PRIMARY KEY CHECK (id GLOB 'ws_*' AND length(id) = 35),
    name TEXT NOT NULL CHECK (name <> ''),
    root_path TEXT NOT NULL UNIQUE CHECK (root_path <> ''),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    last_opened_at INTEGER
) STRICT;
CREATE INDEX workspaces_by_use ON workspaces (coalesce(last_opened_at, 0), -created_at, id);

CREATE TABLE app_state (
    key TEXT NOT NULL PRIMARY KEY CHECK (key IN ('active_workspace_id')),
    value TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE
) STRICT;
