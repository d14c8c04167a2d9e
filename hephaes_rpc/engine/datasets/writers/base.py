"""What all dataset writers are: record batches in, one complete file out."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    import pyarrow as pa

PIECE_BYTES = 1 << 20
FEATURES_SUFFIX = ".features.json"
SNIPPET_SUFFIX = ".features.py"


@frozen
class WriterResult:
    """What a finished writer wrote.

    Args:
        rows: Rows in the file.
        counts: By field, what was changed on the way (``{"imu": {"narrowed_float64": 1200}}``); zeros left out.
        sidecars: Files that belong beside it: suffix put after the dataset's stem (``.features.json``) -> content.
    """

    rows: int
    counts: Mapping[str, Mapping[str, int]] = field(factory=dict)
    sidecars: Mapping[str, bytes] = field(factory=dict)


@frozen
class ColumnRole:
    """What a writer must know of a column beyond its type.

    Args:
        is_image: Its bytes are image files.
        is_json: Its text is JSON.
        has_presence: Absent values are told apart.
    """

    is_image: bool = False
    is_json: bool = False
    has_presence: bool = True


MESSAGE = ColumnRole()


@frozen
class ReadBack:
    """A finished file as its writer read it: rows counted, SHA-256 (hex) of the whole file."""

    rows: int
    sha256: str


def pieces(path: Path, told: Callable[[int], None]) -> Iterator[memoryview]:
    """The bytes of a file, each piece until the next is asked for, telling how many are done."""
    done = 0
    room = memoryview(bytearray(PIECE_BYTES))
    with path.open("rb", buffering=0) as file:
        while n := file.readinto(room):
            yield room[:n]
            done += n
            told(done)


class Writer(Protocol):
    """One file in the making; used from one thread at a time.

    ``pending_bytes`` is what the writer holds in memory; ``flush`` writes as much of it as the format's rules allow.
    """

    @property
    def pending_bytes(self) -> int:
        """Bytes of the batches taken and not written yet."""
        ...

    def write(self, batch: "pa.RecordBatch") -> None:
        """Take a batch of the writer's schema; OSError when the disk says no."""
        ...

    def flush(self) -> None:
        """Make ``pending_bytes`` small, if the format allows."""
        ...

    def finish(self) -> WriterResult:
        """Write the rest and close the file."""
        ...

    def abandon(self) -> None:
        """Let go of the file without completing it; may be called at any time, twice too."""
        ...

    def read_back(self, told: Callable[[int], None]) -> ReadBack:
        """Read the finished file, telling the bytes done; OSError where it is not whole."""
        ...
