"""What the params and results of several resources share."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import attrs
from attrs import field, frozen
from attrs.validators import ge, le

from hephaes_rpc.errors import ParamsError
from hephaes_rpc.serde import shown
from hephaes_rpc.store.pages import DEFAULT_LIMIT, MAX_LIMIT, Page

T = TypeVar("T")

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

WORKSPACE_ERRORS = (
    "workspace_not_found",
    "workspace_not_ready",
    "no_active_workspace",
    "workspace_newer",
    "workspace_corrupt",
    "permission",
    "disk_full",
    "io_error",
)
"""What any method that works in a workspace may answer with."""


def trimmed(text: str) -> str:
    """``text`` without blanks around it."""
    return text.strip()


def given(text: str | None) -> str | None:
    """``text`` without blanks around it; blank text counts as not given."""
    return (text.strip() or None) if text is not None else None


def not_blank(_instance: object, _attribute: Any, text: str) -> None:
    """Validator: the text says something."""
    if not text.strip():
        raise ValueError("must not be blank")


def no_id(_instance: object, attribute: Any, name: str) -> None:
    """Validator: the name could not be taken for an id."""
    if _UUID.fullmatch(name.strip()):
        raise ValueError(f"{attribute.name!r} must not have the form of an id: {name!r}")


def refused(path: str, message: str, expected: str, got: Any) -> dict[str, Any]:
    """One of the errors of a ``ParamsError``."""
    return {"path": path, "message": message, "expected": expected, "got": shown(got)}


def require(errors: Sequence[dict[str, Any]]) -> None:
    """Raise ParamsError with all of ``errors``, if there are any."""
    if errors:
        raise ParamsError(list(errors))


def inverted(params: Any, low: str, high: str) -> list[dict[str, Any]]:
    """The refusal of a range whose lower bound lies above its upper one."""
    least, most = getattr(params, low), getattr(params, high)
    if least is None or most is None or least <= most:
        return []
    return [refused(low, f"{low} must not lie above {high}", f"at most the value of {high}", str(least))]


@frozen(kw_only=True)
class InWorkspace:
    """Params of a method that works in a workspace."""

    workspace_id: str | None = field(
        default=None, converter=given, metadata={"doc": "without it the active workspace is meant"}
    )


@frozen(kw_only=True)
class Paging:
    """Params of a method that lists.

    Args:
        limit: Items of a page at most.
        sort: A field of the items, after - to descend; without it the order is the one the method tells of.
    """

    limit: int = field(default=DEFAULT_LIMIT, validator=[ge(1), le(MAX_LIMIT)])
    cursor: str | None = field(default=None, metadata={"doc": "next_cursor of the page before"})


@frozen(kw_only=True)
class WorkspacePaging(Paging):
    """Params of a method that lists what is in a workspace."""

    workspace_id: str | None = field(
        default=None, converter=given, metadata={"doc": "without it the active workspace is meant"}
    )


def filters_of(cls: type[T], params: Any) -> T:
    """The members of ``params`` that ``cls``, the filters of a list, has too."""
    return cls(**{attribute.name: getattr(params, attribute.name) for attribute in attrs.fields(cls)})  # type: ignore[arg-type]


def page_of(cls: type[T], page: Page[Any], **more: Any) -> T:
    """A page of the store as the result class of its method."""
    return cls(**attrs.asdict(page, recurse=False), **more)
