"""How two JSON values differ, as JSON Patch (RFC 6902).

Strategy: members of objects are compared by name, elements of lists by place, after what two lists have in common at
both ends is set aside.  Only ``add``, ``remove`` and ``replace`` are written, in the order in which they apply; the
same values always give the same patch.  The order of an object's members is no difference to JSON.
"""

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from attrs import frozen

from hephaes_rpc.engine.specs.issues import pointer
from hephaes_rpc.serde import Path


@frozen(kw_only=True)
class PatchAdd:
    """Put a value where there is none; in a list, what stands there moves back."""

    op: Literal["add"] = "add"
    path: str
    value: Any


@frozen(kw_only=True)
class PatchRemove:
    """Take a value away; in a list, what stands behind it moves up."""

    op: Literal["remove"] = "remove"
    path: str


@frozen(kw_only=True)
class PatchReplace:
    """Put a value in the place of another."""

    op: Literal["replace"] = "replace"
    path: str
    value: Any


Operation: TypeAlias = PatchAdd | PatchRemove | PatchReplace


def difference(old: Any, new: Any) -> list[Operation]:
    """The operations that make ``new`` of ``old``; JSON values, of which 1, 1.0 and true are three different ones."""
    return list(_difference(old, new, ()))


def _difference(old: Any, new: Any, at: Path) -> Iterator[Operation]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from (PatchRemove(path=pointer((*at, key))) for key in old if key not in new)
        for key, item in new.items():
            if key in old:
                yield from _difference(old[key], item, (*at, key))
            else:
                yield PatchAdd(path=pointer((*at, key)), value=item)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _of_lists(old, new, at)
    elif type(old) is not type(new) or old != new:
        yield PatchReplace(path=pointer(at), value=new)


def _of_lists(old: list[Any], new: list[Any], at: Path) -> Iterator[Operation]:
    shorter = min(len(old), len(new))
    start = next((k for k in range(shorter) if not _same(old[k], new[k])), shorter)
    after = next((k for k in range(shorter - start) if not _same(old[-1 - k], new[-1 - k])), shorter - start)
    end = shorter - after
    for k in range(start, end):
        yield from _difference(old[k], new[k], (*at, k))
    yield from (PatchRemove(path=pointer((*at, end))) for _ in range(len(old) - shorter))
    yield from (PatchAdd(path=pointer((*at, k)), value=new[k]) for k in range(end, end + len(new) - shorter))


def _same(old: Any, new: Any) -> bool:
    return next(_difference(old, new, ()), None) is None
