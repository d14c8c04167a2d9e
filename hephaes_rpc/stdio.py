"""The wire: private pipes, frames in, frames out.

Strategy: ``claim()`` runs before anything else is imported.  It moves the protocol to private descriptors that no child
inherits, leaves the null device as stdin and points stdout at stderr, so that whatever is printed, by Python, C or a
child, never reaches the client.  One thread reads and decodes frames (``FrameParser`` holds no descriptor and no
clock), one thread writes them from a queue; neither ever waits for the other, so a client that stops reading is still
heard.  A short frame that nothing waits before, and that there is room for, is written by whoever sends it: waking a
thread takes longer than that.

The module imports the standard library only and is shared with the worker process.
"""

import json
import os
import re
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

HEADER_LIMIT = 8 * 1024
BODY_LIMIT = 64 * 1024 * 1024
READ_PIECE = 1024 * 1024
BACKLOG_LIMIT = 256 * 1024 * 1024
DEPTH_LIMIT = 200

_LENGTH_LINE = re.compile(rb"^content-length[ \t]*:[ \t]*([0-9]+)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_LENGTH_ANYWHERE = re.compile(  # begins at the '-', which is what makes it fast
    rb"-(?<=[cC][oO][nN][tT][eE][nN][tT]-)[lL][eE][nN][gG][tT][hH][ \t]*:[ \t]*([0-9]+)[ \t]*\r?\n"
)
_BEFORE_DASH = len("content")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_CONSTANT = re.compile(_STRING + rb"|(NaN|-?Infinity)")
_NUMBER = re.compile(_STRING + rb"|(-?[0-9]+(?:\.[0-9]+)?[eE]\+?[0-9]{3,}|-?[0-9]{300,})")
_BRACKET = re.compile(_STRING + rb"|([\[{])|([\]}])")
_LONGEST_MATCH = 64


class Wire(NamedTuple):
    """Private, non-inheritable descriptors of what used to be stdin and stdout."""

    read_fd: int
    write_fd: int


def claim() -> Wire:
    """Take stdin and stdout for the protocol; fd 0 becomes the null device, fd 1 a second stderr."""
    while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(null, True)  # a standard descriptor was closed: this fills it
    wire = Wire(os.dup(0), os.dup(1))
    for fd in wire:
        os.set_blocking(fd, True)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    if sys.stderr is not None:
        sys.stdout = sys.stderr
    return wire


class Message(NamedTuple):
    """A frame whose body is JSON."""

    value: Any


class Fault(NamedTuple):
    """Something that is answered with an error of id null; after a fatal one the stream is lost."""

    kind: str
    message: str
    data: dict[str, Any]
    fatal: bool = False


class NotJSONError(ValueError):
    """The body is not JSON as we accept it; ``offset`` is in bytes."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class _RefusedConstantError(ValueError):
    pass


class _RefusedNumberError(ValueError):
    pass


def _refuse_constant(name: str) -> Any:
    raise _RefusedConstantError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _RefusedNumberError(f"the number {text[:40]} is beyond the range of a double")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def decode(body: bytes) -> Any:
    """The JSON value of ``body``: strict UTF-8, exact integers, no NaN, no lone surrogates, at most 200 levels deep."""
    try:
        text = body.decode()
        value = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise NotJSONError(f"byte {error.start} is not UTF-8", error.start) from None
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode())
        raise NotJSONError(f"{error.msg} at byte {offset}", offset) from None
    except RecursionError:
        raise _too_deep(body) from None
    except _RefusedConstantError as error:
        raise NotJSONError(str(error), _offset(_CONSTANT, body)) from None
    except _RefusedNumberError as error:
        raise NotJSONError(str(error), _offset(_NUMBER, body)) from None
    except ValueError:  # the interpreter's limit on the digits of an integer
        raise NotJSONError("an integer of more than 4300 digits", _offset(_NUMBER, body)) from None
    if (escape := _SURROGATE.search(body)) is not None:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise NotJSONError("a lone surrogate is not text", escape.start()) from None
        except RecursionError:
            raise _too_deep(body) from None
    if body.count(b"[") + body.count(b"{") > DEPTH_LIMIT and _deeper_than(value, DEPTH_LIMIT):
        raise _too_deep(body)
    return value


def _offset(pattern: re.Pattern[bytes], body: bytes) -> int:
    """Where the first group of ``pattern`` first matches outside of strings."""
    return next((match.start() for match in pattern.finditer(body) if match.group(1)), 0)


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value] if type(value) in (dict, list) else []
    for _ in range(limit):
        if not level:
            return False
        children = [child for item in level for child in (item.values() if type(item) is dict else item)]
        level = [child for child in children if type(child) in (dict, list)]
    return bool(level)


def _too_deep(body: bytes) -> NotJSONError:
    depth = 0
    for match in _BRACKET.finditer(body):
        depth += bool(match.group(1)) - bool(match.group(2))
        if depth > DEPTH_LIMIT:
            return NotJSONError(f"nested deeper than {DEPTH_LIMIT} levels at byte {match.start()}", match.start())
    return NotJSONError(f"nested deeper than {DEPTH_LIMIT} levels", 0)


class FrameParser:
    """Bytes in, messages and faults out; sans-io, restartable at any byte.

    Header names come in any case, lines end with CRLF or LF, a blank line ends the block; lines in it that are no
    header are skipped.  A length may be wrong.  No JSON holds a header line (a line break within a string is no JSON),
    so a header inside of a body, or of what is discarded because it is too long, is the next message; after a body that
    was no JSON the next header is searched for instead of demanded.  Without such a reason a block without a usable
    length means that the framing is lost.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._length: int | None = None
        self._scanned = 0
        self._discard = 0
        self._suspect = False
        self._skipped = 0
        self.lost = False

    def feed(self, data: bytes) -> list[Message | Fault]:
        """What ``data`` completes, in order; nothing after a fatal fault."""
        found: list[Message | Fault] = []
        self._buffer += data
        pos = 0
        while not self.lost:
            if self._discard:
                step = self._drop(pos)
            elif self._length is None:
                step = self._header(pos, found)
            else:
                step = self._body(pos, self._length, found)
            if step is None:
                break
            pos = step
        del self._buffer[: len(self._buffer) if self.lost else pos]
        return found

    def _header(self, pos: int, found: list[Message | Fault]) -> int | None:
        """Read one header block from ``pos``; the position after it, or None when more bytes are needed."""
        buffer = self._buffer
        while pos < len(buffer) and buffer[pos] in b"\r\n":
            pos += 1
        end = _BLANK_LINE.search(buffer, pos, pos + HEADER_LIMIT)
        if end is None and len(buffer) - pos < HEADER_LIMIT:
            return None
        digits = None
        if end is not None:
            stop = end.start() + 1
            line = _LENGTH_LINE.search(buffer, pos, stop) or _LENGTH_ANYWHERE.search(buffer, pos, stop)
            digits = line.group(1) if line else None
        if end is None or digits is None:
            if self._suspect:
                return self._resync(pos, found)
            self._lose(found)
            return None
        significant = digits.lstrip(b"0")
        length = int(significant or b"0") if len(significant) <= 20 else 10**20
        if length > BODY_LIMIT:
            shown = significant[:24].decode() + ("..." if len(significant) > 24 else "")
            text = f"a body of {shown} bytes is over the limit of {BODY_LIMIT} bytes"
            found.append(Fault("invalid_request", text, {"limit_bytes": BODY_LIMIT}))
            self._discard = length
        else:
            self._length, self._scanned = length, 0
        self._skipped = 0
        return end.end()

    def _body(self, pos: int, length: int, found: list[Message | Fault]) -> int | None:
        """Read the body at ``pos``; the position after it, or None when more bytes are needed."""
        end = pos + length
        if end > len(self._buffer):
            header = self._header_within(pos + self._scanned, len(self._buffer))
            self._scanned = max(0, len(self._buffer) - pos - _LONGEST_MATCH)
            if header is None:
                return None
            found.append(Fault("parse_error", "a body that is shorter than its length", {"offset": header - pos}))
        else:
            try:
                with memoryview(self._buffer) as view:
                    body = bytes(view[pos:end])
                found.append(Message(decode(body)))
                self._length, self._suspect = None, False
                return end
            except NotJSONError as error:
                found.append(Fault("parse_error", f"the body is not JSON: {error}", {"offset": error.offset}))
            header = self._header_within(pos, end)
        self._length, self._suspect = None, True
        return max(pos, end - _LONGEST_MATCH) if header is None else header

    def _drop(self, pos: int) -> int | None:
        """Pass over a body that is not wanted; the position after it, or None when more bytes are needed."""
        header = self._header_within(pos, min(pos + self._discard, len(self._buffer)))
        if header is not None or len(self._buffer) - pos >= self._discard:
            step = pos + self._discard if header is None else header
            self._discard, self._suspect = 0, True
            return step
        dropped = max(0, len(self._buffer) - pos - _LONGEST_MATCH)
        self._discard -= dropped
        del self._buffer[pos : pos + dropped]
        return None

    def _resync(self, pos: int, found: list[Message | Fault]) -> int | None:
        """Skip to the next thing that looks like a header, behind the one that may be at ``pos``."""
        header = self._header_within(pos + _BEFORE_DASH + 1, len(self._buffer))
        if header is not None:
            return header
        keep = max(pos, len(self._buffer) - _LONGEST_MATCH)
        self._skipped += keep - pos
        del self._buffer[pos:keep]
        if self._skipped > BODY_LIMIT:
            self._lose(found)
        return None

    def _header_within(self, start: int, stop: int) -> int | None:
        """Where the first header line that lies between two positions begins."""
        match = _LENGTH_ANYWHERE.search(self._buffer, start, stop)
        return None if match is None else match.start() - _BEFORE_DASH

    def _lose(self, found: list[Message | Fault]) -> None:
        self.lost = True
        text = "a header block without a usable Content-Length: framing is lost"
        found.append(Fault("parse_error", text, {}, fatal=True))


class FrameReader(threading.Thread):
    """Reads frames from a descriptor until end of input or lost framing.

    Args:
        deliver: Called in this thread with what one read completed.
        ended: Called in this thread once, last; the argument says whether framing was lost.
    """

    def __init__(
        self, fd: int, deliver: Callable[[list[Message | Fault]], None], ended: Callable[[bool], None]
    ) -> None:
        super().__init__(name="reader", daemon=True)
        self._fd = fd
        self._deliver = deliver
        self._ended = ended

    def run(self) -> None:
        """Read until the end."""
        parser = FrameParser()
        try:
            while not parser.lost and (data := os.read(self._fd, READ_PIECE)):
                if found := parser.feed(data):
                    self._deliver(found)
        except OSError:
            pass  # as at the end of input
        finally:
            self._ended(parser.lost)


class FrameWriter(threading.Thread):
    """Writes frames to a descriptor from an unbounded queue, in order.

    Args:
        gone: Called once, from any thread, when more than 256 MiB wait: the client is taken for gone.
    """

    def __init__(self, fd: int, gone: Callable[[], None]) -> None:
        super().__init__(name="writer", daemon=True)
        self._fd = fd
        self._gone = gone
        self._changed = threading.Condition()
        self._queue: deque[list[Any]] = deque()
        self._latest: dict[str, list[Any]] = {}
        self._waiting_bytes = 0
        self._held = False
        self._open = True
        self._room: select.poll | None = None
        mode = os.fstat(fd).st_mode
        if hasattr(select, "poll") and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            self._room = select.poll()
            self._room.register(fd, select.POLLOUT)

    def send(self, body: bytes, key: str | None = None) -> None:
        """Queue one message; a waiting message with the same ``key`` is replaced where it stands.  Never blocks."""
        frame = b"Content-Length: %d\r\n\r\n%b\n" % (len(body) + 1, body)
        with self._changed:
            if not self._open or (not self._held and self._written(frame)):
                return
            waiting = self._latest.get(key) if key is not None else None
            if waiting is not None:
                self._waiting_bytes += len(frame) - len(waiting[1])
                waiting[1] = frame
            else:
                entry = [key, frame]
                if key is not None:
                    self._latest[key] = entry
                self._queue.append(entry)
                self._waiting_bytes += len(frame)
            full = self._waiting_bytes > BACKLOG_LIMIT
            if full:
                self._drop()
            self._changed.notify()
        if full:
            self._gone()

    def hold(self) -> None:
        """Have what is sent from now on wait for ``let_go``, to be written in one piece."""
        with self._changed:
            self._held = True

    def let_go(self) -> None:
        """Have what was held written."""
        with self._changed:
            if self._held:
                self._held = False
                self._changed.notify()

    def _written(self, frame: bytes) -> bool:
        """Write a frame here and now, if that blocks nobody: what has any room takes PIPE_BUF bytes at once."""
        if self._waiting_bytes or self._room is None or len(frame) > select.PIPE_BUF:
            return False
        if self._room.poll(0) != [(self._fd, select.POLLOUT)]:
            return False
        try:
            return os.write(self._fd, frame) == len(frame)
        except OSError:  # the thread will find the same
            return False

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is written, what is held too; False when time runs out."""
        self.let_go()
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting_bytes, timeout_s)

    def run(self) -> None:
        """Write until the descriptor fails."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queue and not self._held) or not self._open)
                if not self._open:
                    return
                batch = self._take()
            try:
                self._write(batch)
            except OSError:
                with self._changed:
                    self._drop()
                    self._changed.notify_all()
                return
            with self._changed:
                self._waiting_bytes = max(0, self._waiting_bytes - len(batch))
                self._changed.notify_all()

    def _take(self) -> bytes:
        frames: list[bytes] = []
        size = 0
        while self._queue and size < READ_PIECE:
            key, frame = self._queue.popleft()
            if key is not None:
                del self._latest[key]
            frames.append(frame)
            size += len(frame)
        return b"".join(frames)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _drop(self) -> None:
        self._open = False
        self._queue.clear()
        self._latest.clear()
        self._waiting_bytes = 0
