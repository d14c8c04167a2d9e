"""Background work: what waits, what runs, how it ended; stop it, start it again."""

from datetime import datetime
from typing import Literal

from attrs import field, frozen
from attrs.validators import ge, optional

from hephaes_rpc.context import RequestContext
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.methods.common import (
    WORKSPACE_ERRORS,
    InWorkspace,
    WorkspacePaging,
    filters_of,
    given,
    inverted,
    page_of,
    require,
)
from hephaes_rpc.model.jobs import Job, JobLogLine, JobStatus, JobType
from hephaes_rpc.registry import Lane, method
from hephaes_rpc.store.joblists import JobFilters

Sort = Literal["created_at", "-created_at", "updated_at", "-updated_at"]


@frozen(kw_only=True)
class JobsListParams(WorkspacePaging):
    """Which jobs; bounds are inclusive.

    Args:
        type: Of that type only.
        status: Of that status only.
        asset_id: On that asset only.
    """

    sort: Sort | None = None
    type: JobType | None = None
    status: JobStatus | None = None
    asset_id: str | None = field(default=None, converter=given)
    created_after: datetime | None = None
    created_before: datetime | None = None


@frozen(kw_only=True)
class JobPage:
    """A page of jobs."""

    items: list[Job]
    total: int
    next_cursor: str | None
    total_is_lower_bound: bool


@frozen(kw_only=True)
class JobParams(InWorkspace):
    """One job."""

    job_id: str


@frozen(kw_only=True)
class JobsLogsParams(WorkspacePaging):
    """Which lines of a job's log."""

    job_id: str
    attempt: int | None = field(default=None, validator=optional(ge(1)), metadata={"doc": "of one attempt only"})


@frozen(kw_only=True)
class JobLogPage:
    """A page of a job's log; ``total`` counts the lines that are kept."""

    items: list[JobLogLine]
    total: int
    next_cursor: str | None


@method(
    "jobs/list",
    params=JobsListParams,
    result=JobPage,
    errors=("cursor_mismatch", *WORKSPACE_ERRORS),
    lane=Lane.READ,
)
def jobs_list(ctx: RequestContext, params: JobsListParams) -> JobPage:
    """Jobs, the newest first."""
    require(inverted(params, "created_after", "created_before"))
    jobs = ctx.workspace(params.workspace_id).jobs
    return page_of(JobPage, jobs.list(filters_of(JobFilters, params), params.limit, params.cursor, params.sort))


@method("jobs/get", params=JobParams, result=Job, errors=("job_not_found", *WORKSPACE_ERRORS), lane=Lane.READ)
def jobs_get(ctx: RequestContext, params: JobParams) -> Job:
    """One job."""
    return ctx.workspace(params.workspace_id).jobs.get(params.job_id)


@method(
    "jobs/cancel",
    params=JobParams,
    result=Job,
    errors=("job_not_found", "job_already_finished", *WORKSPACE_ERRORS),
    lane=Lane.LONG,
)
async def jobs_cancel(ctx: RequestContext, params: JobParams) -> Job:
    """Stop a job; answers when it has stopped."""
    return await ctx.app.jobs.cancel(await ctx.opened(params.workspace_id), params.job_id)


@method(
    "jobs/retry",
    params=JobParams,
    result=Job,
    errors=("job_not_found", "job_not_finished", "unsupported", *WORKSPACE_ERRORS),
    lane=Lane.LONG,
)
async def jobs_retry(ctx: RequestContext, params: JobParams) -> Job:
    """Do a failed or cancelled job again, as a new job that names this one in ``retry_of``."""
    return await ctx.app.jobs.retry(await ctx.opened(params.workspace_id), params.job_id)


@method(
    "jobs/logs",
    params=JobsLogsParams,
    result=JobLogPage,
    errors=("job_not_found", "cursor_mismatch", *WORKSPACE_ERRORS),
    lane=Lane.READ,
)
def jobs_logs(ctx: RequestContext, params: JobsLogsParams) -> JobLogPage:
    """What happened to a job and what its workers said, the oldest line first; the newest 2000 lines are kept."""
    workspace = ctx.workspace(params.workspace_id)
    workspace.jobs.get(params.job_id)
    if params.cursor is not None and not (params.cursor.isascii() and params.cursor.isdigit()):
        raise HephaesError("cursor_mismatch", "the cursor is not one of jobs/logs")
    page = workspace.job_logs.page(params.job_id, params.limit, int((params.cursor or "0")[:18]), params.attempt)
    return JobLogPage(items=page.items, total=page.total, next_cursor=page.next_cursor)
