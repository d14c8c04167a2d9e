"""Values as the databases hold them: ids, times in microseconds, JSON texts, folded names."""

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, overload

import attrs
import orjson

from hephaes_rpc.serde import encode

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def new_id() -> str:
    """A fresh id (UUID4 text)."""
    return str(uuid.uuid4())


def now_us() -> int:
    """The time, microseconds since the Unix epoch."""
    return time.time_ns() // 1000


def to_us(when: datetime) -> int:
    """An aware time as microseconds since the Unix epoch."""
    return (when - EPOCH) // MICROSECOND


@overload
def to_time(us: int) -> datetime: ...
@overload
def to_time(us: int | None) -> datetime | None: ...
def to_time(us: int | None) -> datetime | None:
    """Microseconds since the Unix epoch as an aware time."""
    return None if us is None else EPOCH + timedelta(microseconds=us)


def ns_to_time(ns: int | None) -> datetime | None:
    """A log time (ns) as an aware time, None when no calendar holds it; below a microsecond it is cut."""
    try:
        return to_time(None if ns is None else ns // 1000)
    except OverflowError:
        return None


@overload
def to_json(value: None) -> None: ...
@overload
def to_json(value: Any) -> str: ...
def to_json(value: Any) -> str | None:
    """``value`` (JSON values, an attrs object or a list of them) as JSON text; None stays NULL."""
    return None if value is None else encode(_plain(value)).decode()


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return attrs.asdict(value) if attrs.has(type(value)) else value


def from_json(text: str | bytes) -> Any:
    """The value of a JSON text that ``to_json`` wrote."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # lone surrogates, which orjson refuses
        import json

        return json.loads(text)


def folded(text: str) -> str:
    """``text`` for comparison without case."""
    return text.casefold()


def normalized(name: str) -> str:
    """A tag's or config's name for comparison: trimmed, inner blanks collapsed, case folded."""
    return " ".join(name.split()).casefold()
