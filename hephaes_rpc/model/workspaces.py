"""Workspaces and the tags of their assets."""

from datetime import datetime
from typing import Literal

from attrs import frozen

WorkspaceStatus = Literal["ready", "missing", "invalid"]


@frozen
class Workspace:
    """A registered workspace; ``active_job_count`` is 0 unless it is ready."""

    id: str
    name: str
    active_job_count: int
    root_path: str
    workspace_dir: str
    database_path: str
    created_at: datetime
    updated_at: datetime
    last_opened_at: datetime | None
    status: WorkspaceStatus
    status_reason: str | None


@frozen
class Tag:
    """A tag of one workspace."""

    id: str
    name: str
    created_at: datetime


@frozen
class TagEntry(Tag):
    """A tag with the number of assets that carry it."""

    asset_count: int
