"""Background work: what waits, what runs, how it ended; stop it, start it again."""

from datetime import datetime
from typing import Literal

from attrs import field, frozen

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
from hephaes_rpc.model import Job, JobStatus, JobType
from hephaes_rpc.registry import Lane, RequestContext, method
from hephaes_rpc.store.jobs import JobFilters

Sort = Literal["created_at", "-created_at", "updated_at", "-updated_at"]


@frozen(kw_only=True)
class JobsListParams(WorkspacePaging):
    """Which jobs; bounds are inclusive."""

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


@method("jobs/list", params=JobsListParams, result=JobPage, errors=("cursor_mismatch", *WORKSPACE_ERRORS))
def jobs_list(ctx: RequestContext, params: JobsListParams) -> JobPage:
    """Jobs, the newest first."""
    require(inverted(params, "created_after", "created_before"))
    jobs = ctx.workspace(params.workspace_id).jobs
    return page_of(JobPage, jobs.list(filters_of(JobFilters, params), params.limit, params.cursor, params.sort))


@method("jobs/get", params=JobParams, result=Job, errors=("job_not_found", *WORKSPACE_ERRORS))
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
    return await ctx.app.jobs.cancel(ctx.workspace(params.workspace_id), params.job_id)


@method(
    "jobs/retry",
    params=JobParams,
    result=Job,
    errors=("job_not_found", "job_not_finished", "unsupported", *WORKSPACE_ERRORS),
    lane=Lane.LONG,
)
async def jobs_retry(ctx: RequestContext, params: JobParams) -> Job:
    """Do a failed or cancelled job again, as a new job that names this one in ``retry_of``."""
    return await ctx.app.jobs.retry(ctx.workspace(params.workspace_id), params.job_id)
