-- Jobs in the order of their last change, whatever is asked for; and the few that changed long after they were made,
-- without which a time of creation bounds that of the last change.
CREATE INDEX jobs_by_status_and_update ON jobs (status, updated_at, id, created_at, type);
CREATE INDEX jobs_by_type_and_update ON jobs (type, updated_at, id, created_at, status);
CREATE INDEX jobs_long ON jobs (created_at) WHERE updated_at > created_at + 86400000000;
