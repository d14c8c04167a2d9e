"""Logging: to stderr and to a rotating file, never in the way of anything.

Strategy: stderr may be a pipe that nobody reads, so a thread of its own writes it from a bounded queue; what does not
fit is counted and dropped.  Log lines hold names that came from files and clients: control characters are escaped, so
that one record cannot pass for two.  The file holds a JSON object per line, stderr text; both name the request and the
job at work.  Params of requests are logged nowhere.
"""

import contextlib
import json
import logging
import logging.handlers
import os
import queue
import re
import threading
import time
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from hephaes_rpc.logcontext import NOTHING, Work, current
from hephaes_rpc.notify import LogMessage, Notifier

FILE_NAME = "sidecar.log"
FILE_BYTES = 5 * 1024 * 1024
FILES_KEPT = 3
QUEUED_LINES = 2000
OURS = "hephaes_rpc"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped(text: str) -> str:
    """``text`` with everything that would change the look of a line as JSON escapes."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _named(record: logging.LogRecord) -> logging.LogRecord:
    """The record with what was being worked on when it was made."""
    record.work = current()
    return record


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, process, request, method and job where known, message, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON text without a newline."""
        when = datetime.fromtimestamp(record.created, UTC)
        work: Work = getattr(record, "work", NOTHING)
        told: dict[str, Any] = {
            "time": f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "request": work.request,
            "method": work.method,
            "job": work.job,
            "incident": getattr(record, "incident", None),
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info).split("\n")
        known = {name: value for name, value in told.items() if value is not None}
        return escaped(json.dumps(known, ensure_ascii=False))


class LineFormatter(logging.Formatter):
    """One line a record, UTC; the lines of a traceback follow behind a bar."""

    converter = time.gmtime  # type: ignore[assignment]

    def __init__(self) -> None:
        line = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s[%(process)d] %(message)s"
        super().__init__(line, "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The record as text without a newline at its end."""
        work: Work = getattr(record, "work", NOTHING)
        about = [f"{name} {value}" for name, value in (("request", work.request), ("job", work.job)) if value]
        named = f"[{', '.join(about)}] " if about else ""
        record.message = escaped(named + record.getMessage())
        record.asctime = self.formatTime(record, self.datefmt)
        lines = [self.formatMessage(record)]
        if record.exc_info:
            lines += [f"  | {escaped(line)}" for line in self.formatException(record.exc_info).split("\n")]
        return "\n".join(lines)


class _StderrHandler(logging.Handler):
    """Writes to fd 2 from a thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: queue.Queue[str] = queue.Queue(QUEUED_LINES)
        self._dropped = 0
        threading.Thread(target=self._write, name="stderr", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            if self._dropped:
                line, self._dropped = f"{line}\n({self._dropped} log lines dropped: stderr is not read)", 0
            data = memoryview(f"{line}\n".encode())
            with contextlib.suppress(OSError):
                while data:
                    data = data[os.write(2, data) :]
            self._lines.task_done()

    def drain(self, timeout_s: float) -> None:
        """Wait until everything queued is written, or time runs out."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, timeout_s)


class _FileHandler(logging.handlers.RotatingFileHandler):
    """A rotating file that only its owner reads."""

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802  (the name that logging has for it)
        """Whether the file is full; one that another process has rotated away is opened anew first."""
        with contextlib.suppress(OSError):
            if self.stream is not None and not os.path.samestat(
                os.fstat(self.stream.fileno()), Path(self.baseFilename).stat()
            ):
                self.stream.close()
                self.stream = self._open()
        return bool(super().shouldRollover(record))

    def _open(self) -> TextIOWrapper:
        fd = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return TextIOWrapper(os.fdopen(fd, "ab"), encoding="utf-8")


class _ClientHandler(logging.Handler):
    """Tells the client of warnings and errors by ``window/logMessage``."""

    def __init__(self, notifier: Notifier) -> None:
        super().__init__(logging.WARNING)
        self._notifier = notifier

    def emit(self, record: logging.LogRecord) -> None:
        kind = 1 if record.levelno >= logging.ERROR else 2
        self._notifier.notify("window/logMessage", LogMessage(kind, escaped(record.getMessage())))  # type: ignore[arg-type]


class Logs:
    """The handlers of the process."""

    def __init__(self, level: str) -> None:
        logging.raiseExceptions = False
        logging.setLogRecordFactory(lambda *args, **kwargs: _named(logging.LogRecord(*args, **kwargs)))
        self._stderr = _StderrHandler()
        self._file: logging.Handler | None = None
        self._add(self._stderr, LineFormatter(), logging.getLogger())
        logging.getLogger().setLevel(logging.WARNING)
        logging.captureWarnings(True)
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """Log from this level on; other libraries stay at warnings."""
        logging.getLogger(OURS).setLevel(level.upper())

    def open_file(self, folder: Path) -> None:
        """Log to a file in ``folder`` too; where that cannot be, say so and go on."""
        if self._file is not None:
            return
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = _FileHandler(folder / FILE_NAME, maxBytes=FILE_BYTES, backupCount=FILES_KEPT)
        except OSError as error:
            logging.getLogger(__name__).warning("no log file: %s", error)
        else:
            self._add(self._file, JsonFormatter(), logging.getLogger())

    def tell(self, notifier: Notifier) -> None:
        """Tell the client of our warnings and errors."""
        self._add(_ClientHandler(notifier), LineFormatter(), logging.getLogger(OURS))

    def _add(self, handler: logging.Handler, formatter: logging.Formatter, target: logging.Logger) -> None:
        handler.setFormatter(formatter)
        target.addHandler(handler)

    def flush(self, timeout_s: float) -> None:
        """Wait for stderr, but not for long."""
        self._stderr.drain(timeout_s)
