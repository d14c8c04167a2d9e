"""Figures over everything in a workspace."""

from datetime import UTC, datetime

from attrs import field, frozen
from attrs.validators import ge, le

from hephaes_rpc.context import RequestContext
from hephaes_rpc.methods.common import WORKSPACE_ERRORS, InWorkspace
from hephaes_rpc.methods.outputs import refresh
from hephaes_rpc.model.dashboard import DashboardBlockers, DashboardSummary, DashboardTrends
from hephaes_rpc.registry import Lane, method

MAX_DAYS = 90


@frozen(kw_only=True)
class DashboardTrendsParams(InWorkspace):
    """How far back."""

    days: int = field(default=7, validator=[ge(1), le(MAX_DAYS)], metadata={"doc": "today included"})


@method("dashboard/summary", params=InWorkspace, result=DashboardSummary, errors=WORKSPACE_ERRORS, lane=Lane.LONG)
async def dashboard_summary(ctx: RequestContext, params: InWorkspace) -> DashboardSummary:
    """What there is, and how fresh it is."""
    workspace = await ctx.opened(params.workspace_id)
    await refresh(ctx, workspace)
    summary: DashboardSummary = await ctx.in_thread(workspace.dashboard.summary, datetime.now(UTC))
    return summary


@method(
    "dashboard/trends",
    params=DashboardTrendsParams,
    result=DashboardTrends,
    errors=WORKSPACE_ERRORS,
    lane=Lane.READ,
)
def dashboard_trends(ctx: RequestContext, params: DashboardTrendsParams) -> DashboardTrends:
    """Counts per calendar day in UTC."""
    return ctx.workspace(params.workspace_id).dashboard.trends(params.days, datetime.now(UTC))


@method("dashboard/blockers", params=InWorkspace, result=DashboardBlockers, errors=WORKSPACE_ERRORS, lane=Lane.LONG)
async def dashboard_blockers(ctx: RequestContext, params: InWorkspace) -> DashboardBlockers:
    """What waits for somebody to do something about it."""
    workspace = await ctx.opened(params.workspace_id)
    await refresh(ctx, workspace)
    blockers: DashboardBlockers = await ctx.in_thread(workspace.dashboard.blockers)
    return blockers
