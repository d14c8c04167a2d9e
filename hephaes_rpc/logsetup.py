"""Logging: to stderr and to a rotating file, never in the way of anything.

Strategy: stderr may be a pipe that nobody reads, so a thread of its own writes it from a bounded queue; what does not
fit is counted and dropped.  Log lines hold names that came from files and clients: control characters are escaped, so
that one record cannot pass for two.  Params of requests are logged nowhere.
"""

import contextlib
import logging
import logging.handlers
import os
import queue
import re
import threading
import time
from io import TextIOWrapper
from pathlib import Path

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


class LineFormatter(logging.Formatter):
    """One line a record, UTC; the lines of a traceback follow behind a bar."""

    converter = time.gmtime  # type: ignore[assignment]

    def __init__(self) -> None:
        line = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s[%(process)d] %(message)s"
        super().__init__(line, "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The record as text without a newline at its end."""
        record.message = escaped(record.getMessage())
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
        self._formatter = LineFormatter()
        self._stderr = _StderrHandler()
        self._file: logging.Handler | None = None
        self._add(self._stderr, logging.getLogger())
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
            self._add(self._file, logging.getLogger())

    def tell(self, notifier: Notifier) -> None:
        """Tell the client of our warnings and errors."""
        self._add(_ClientHandler(notifier), logging.getLogger(OURS))

    def _add(self, handler: logging.Handler, target: logging.Logger) -> None:
        handler.setFormatter(self._formatter)
        target.addHandler(handler)

    def flush(self, timeout_s: float) -> None:
        """Wait for stderr, but not for long."""
        self._stderr.drain(timeout_s)
