"""Lists of jobs: each way to a page begins with what is asked for."""

# ruff: noqa: S608  (SQL is put together from constants of this package; values are bound)

from datetime import datetime

from attrs import evolve, frozen

from hephaes_rpc.model.jobs import Job, JobStatus, JobType
from hephaes_rpc.store.db import Session
from hephaes_rpc.store.jobrows import COLUMNS, job_of
from hephaes_rpc.store.pages import FEW, Listing, Order, Page, Route, Way, Where, count
from hephaes_rpc.store.places import Places
from hephaes_rpc.store.values import to_us

LONG_US = 86_400_000_000
_LONG = f"j.updated_at > j.created_at + {LONG_US}"
_OF_ASSET = "(SELECT DISTINCT job_id FROM job_assets WHERE asset_id = :asset) x CROSS JOIN jobs j ON j.id = x.job_id"

LISTING = Listing(
    name="jobs",
    columns=COLUMNS,
    source="jobs j",
    id="j.id",
    sorts={"created_at": ("j.created_at",), "updated_at": ("j.updated_at",)},
    default="-created_at",
)


@frozen(kw_only=True)
class JobFilters:
    """Which jobs; all conditions must hold, bounds are inclusive."""

    type: JobType | None = None
    status: JobStatus | None = None
    asset_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


def list_jobs(
    session: Session, places: Places, filters: JobFilters, *, limit: int, cursor: str | None, sort: str | None
) -> Page[Job]:
    """A page of jobs, the newest first unless sorted otherwise."""
    where = Where()
    where.add("j.type = ?", filters.type)
    where.add("j.status = ?", filters.status)
    where.add("j.created_at >= ?", None if filters.created_after is None else to_us(filters.created_after))
    where.add("j.created_at <= ?", None if filters.created_before is None else to_us(filters.created_before))

    def route(order: Order) -> Route | None:
        """An asset leads to few jobs; all other ways begin with what is asked for."""
        if filters.asset_id is not None:
            where.bindings["asset"] = filters.asset_id
            of_asset = Way(_OF_ASSET, tuple(where.conditions), "")
            return Route(of_asset, of_asset)
        if not where.conditions:
            return None
        found = Way(f"jobs j INDEXED BY {_leading(filters)}", tuple(where.conditions), "")
        return Route(found if order.sort != "updated_at" else _by_update(session, filters, where, found), found)

    return LISTING.page(
        session,
        filters,
        where,
        lambda rows: [job_of(row, places) for row in rows],
        limit=limit,
        cursor=cursor,
        sort=sort,
        route=route,
    )


def _leading(filters: JobFilters) -> str:
    """The index in the order of creation that holds the traits that are asked for."""
    if filters.type is not None:
        return "jobs_by_type" if filters.status is None else "jobs_by_type_and_status"
    return "jobs_by_creation" if filters.status is None else "jobs_by_status"


def _by_update(session: Session, filters: JobFilters, where: Where, found: Way) -> Way:
    """The way to a page in the order of the last change.

    A few jobs of both traits, or of a time with jobs that took long, are sorted; all others are walked in that order,
    between the bounds that the times of creation imply.
    """
    before = filters.created_before
    is_bounded = before is not None and not session.value(
        f"SELECT EXISTS (SELECT 1 FROM jobs j INDEXED BY jobs_long WHERE {_LONG} AND j.created_at <= ?)",
        (to_us(before),),
    )
    may_be_sparse = None not in (filters.type, filters.status) or (before is not None and not is_bounded)
    if may_be_sparse and count(session, found, where.bindings, FEW + 1) <= FEW:
        return evolve(found, is_sorted=True)
    if filters.created_after is not None:
        where.add("j.updated_at >= ?", to_us(filters.created_after))
    if before is not None and is_bounded:
        where.add("j.updated_at <= ?", to_us(before) + LONG_US)
    if filters.status is not None:
        index = "jobs_by_status_and_update"
    else:
        index = "jobs_by_update" if filters.type is None else "jobs_by_type_and_update"
    return Way(f"jobs j INDEXED BY {index}", tuple(where.conditions), "")
