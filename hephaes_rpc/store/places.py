"""Paths as a workspace stores them: relative to its root where they lie below it, so that a workspace may be moved."""

from pathlib import Path

from hephaes_rpc.errors import HephaesError


class Places:
    """Translates paths between the database and everything else.

    Args:
        root: The workspace's root, absolute.
    """

    def __init__(self, root: Path) -> None:
        self.prefix = f"{str(root).rstrip('/')}/"

    def stored(self, path: Path | str) -> str:
        """An absolute path as it is stored; raises ``invalid_path`` for one that is no Unicode text."""
        text = str(path)
        try:
            text.encode()
        except UnicodeEncodeError:
            shown = text.encode(errors="backslashreplace").decode()
            raise HephaesError("invalid_path", f"{shown} is not valid UTF-8", path=shown) from None
        return text.removeprefix(self.prefix)

    def absolute(self, stored: str) -> str:
        """A stored path as absolute text."""
        return stored if Path(stored).is_absolute() else self.prefix + stored
