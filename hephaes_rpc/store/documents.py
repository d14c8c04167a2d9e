"""Spec documents as they are stored, read with whatever may be wrong with them."""

import hashlib
import threading
from collections import OrderedDict
from typing import Any

from attrs import frozen

from hephaes_rpc.engine.specs import written
from hephaes_rpc.engine.specs.document import VERSION, SpecDocument, dump, load
from hephaes_rpc.errors import SpecError

REMEMBERED_BYTES = 4 << 20


@frozen
class Reading:
    """What a stored document says.

    Attributes:
        document: In the current version; None when there is a ``reason``.
        reason: Why it cannot be used.
        version: The version it was written in, where it tells.
        content: The JSON object that is stored.
        text: What is stored where that is no JSON object.
    """

    document: SpecDocument | None
    reason: str | None
    version: int | None
    content: dict[str, Any] | None
    text: str | None

    @property
    def is_old(self) -> bool:
        """Whether it is usable, but written in an earlier version."""
        return self.document is not None and self.version != VERSION


class Readings:
    """Reads documents, and remembers what they said: checking one takes a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[int, Reading]] = OrderedDict()
        self._size_bytes = 0

    def of(self, sha256: str | None, data: bytes | None) -> Reading:
        """The reading of a blob, which is None where it has been lost."""
        if sha256 is None or data is None:
            return Reading(None, "the document has been lost", None, None, None)
        if hashlib.sha256(data).hexdigest() != sha256:
            return _damaged(data)
        with self._lock:
            if sha256 in self._known:
                self._known.move_to_end(sha256)
                return self._known[sha256][1]
        reading = _read(data)
        with self._lock:
            if sha256 not in self._known:
                self._known[sha256] = len(data), reading
                self._size_bytes += len(data)
            while self._size_bytes > REMEMBERED_BYTES:
                self._size_bytes -= self._known.popitem(last=False)[1][0]
        return reading


READINGS = Readings()
"""Of the whole process: a document is the same wherever it is stored."""


def stored_form(document: SpecDocument) -> bytes:
    """The bytes that a document is stored as; equal documents give equal bytes."""
    return dump(document).encode()


def _read(data: bytes) -> Reading:
    try:
        text = data.decode()
        content = written.parse(text)
        written.bounded(content)
    except UnicodeDecodeError:
        return _unreadable(data, "the document is no UTF-8 text")
    except ValueError as error:
        return _unreadable(data, f"the document {error}")
    if not isinstance(content, dict):
        return _unreadable(data, "the document is no JSON object")
    version = content.get("spec_version", VERSION)
    version = version if type(version) is int else None
    try:
        return Reading(load(content), None, version, content, None)
    except SpecError as error:
        return Reading(None, error.message, version, content, None)


def _unreadable(data: bytes, reason: str) -> Reading:
    return Reading(None, reason, None, None, data.decode(errors="replace"))


def _damaged(data: bytes) -> Reading:
    reading = _read(data)
    reason = "the document is damaged: it is not what was stored"
    if reading.reason is not None:
        reason += f" ({reading.reason})"
    return Reading(None, reason, reading.version, reading.content, reading.text)
