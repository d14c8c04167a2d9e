"""What a person sees: printable text, sizes, and one progress bar (plain lines where stderr is no terminal)."""

import sys
import time
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_INTERVAL_S = 1.0
_BRIEF = frozenset(("queued", "plan", "publish"))
_PREFIXES = ("", "k", "M", "G", "T", "P")


def printable(text: str) -> str:
    """``text`` with everything escaped that could steer a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def say(text: str) -> None:
    """One line on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Rows of cells as lines of columns; those at the positions ``right`` are set flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def amount(number: float, unit: str) -> str:
    """``1234567, "bytes"`` as ``1.2 MB``; counts of other units in full."""
    if unit != "bytes":
        return f"{number:,.0f} {unit}"
    power = 0
    while abs(number) >= 999.5 and power < len(_PREFIXES) - 1:
        number /= 1000
        power += 1
    return f"{number:.0f} B" if power == 0 else f"{number:.1f} {_PREFIXES[power]}B"


def seconds(value: float) -> str:
    """``75`` as ``1:15``, ``4.2`` as ``4.2 s``, ``0.016`` as ``16 ms``."""
    if value < 1:
        return f"{1000 * value:.3g} ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


class Pace:
    """Rate and time left of one phase: what has been done since it began."""

    def __init__(self) -> None:
        self._work = ("", "")
        self._began = 0.0
        self._first = 0

    def note(self, name: str, phase: str, done: int) -> None:
        """Count from here where another phase has begun."""
        if (name, phase) != self._work:
            self._work, self._began, self._first = (name, phase), time.monotonic(), done

    def describe(self, done: int, total: int, unit: str) -> str:
        """``1.2 MB of 4.0 MB, 5.1 MB/s, 0.5 s left``; nothing for phases that are over in a moment."""
        if self._work[1] in _BRIEF:
            return ""
        text = f"{amount(done, unit)} of {amount(total, unit)}" if total else amount(done, unit)
        elapsed_s, gained = time.monotonic() - self._began, done - self._first
        if elapsed_s > 0 and gained > 0:
            rate = gained / elapsed_s
            text += f", {amount(rate, unit)}/s"
            if total > done:
                text += f", {seconds((total - done) / rate)} left"
        return text


class Display:
    """Shows how far one piece of work after the other is: a plain line every ``interval_s`` at most, from the first
    state on; what is done sooner is not worth a line.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._pace = Pace()
        self._shown_at: float | None = None

    def update(self, name: str, phase: str, done: int, total: int, unit: str) -> None:
        """Show the state of the work ``name``, if the last line is old enough."""
        self._pace.note(name, phase, done)
        now = time.monotonic()
        if self._shown_at is None:
            self._shown_at = now
        if now - self._shown_at >= self._interval_s:
            self._shown_at = now
            text = self._pace.describe(done, total, unit)
            say(f"{name}: {phase} {100 * done // max(total, 1)} %" + (f", {text}" if text else ""))

    def line(self, text: str) -> None:
        """Print a line that stays."""
        say(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Take away what does not stay."""


class Bar(Display):
    """A bar with rate and time left."""

    def __init__(self) -> None:
        super().__init__(0)
        self._progress = self._make()
        self._task: TaskID | None = None

    @staticmethod
    def _make() -> "Progress":
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[pace]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )

    def update(self, name: str, phase: str, done: int, total: int, unit: str) -> None:
        """Show the state of the work ``name``."""
        self._pace.note(name, phase, done)
        if self._task is None:
            self._task = self._progress.add_task("", pace="")
        self._progress.update(
            self._task,
            description=printable(f"{name}: {phase}"),
            completed=done,
            total=max(total, 1),
            pace=self._pace.describe(done, total, unit),
        )

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self._progress.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()


def display(interval_s: float = PLAIN_INTERVAL_S) -> Display:
    """The display that fits stderr; ``interval_s`` is for plain lines."""
    return Bar() if sys.stderr.isatty() else Display(interval_s)
