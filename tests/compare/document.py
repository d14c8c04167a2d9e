"""docs/reference-differences.md: its tables are those of ``differences``."""

from pathlib import Path

from tests.compare.differences import RUNS, VALUES, table
from tests.compare.traps import DIFFERENCES

PATH = Path(__file__).parents[2] / "docs" / "reference-differences.md"
TABLES = {"values": VALUES, "runs": RUNS, "specs": DIFFERENCES}


def _rendered(text: str) -> str:
    """The document with its tables as they should be."""
    for name, differences in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        after = rest.partition(end)[2]
        text = "\n".join([before + begin + "\n".join(table(differences.items())), end + after])
    return text


def is_current() -> bool:
    """Whether the document says what ``differences`` says."""
    text = PATH.read_text(encoding="utf-8")
    return text == _rendered(text)


def write() -> None:
    """Bring its tables up to date."""
    PATH.write_text(_rendered(PATH.read_text(encoding="utf-8")), encoding="utf-8")
