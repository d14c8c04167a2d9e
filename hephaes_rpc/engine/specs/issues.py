"""What is wrong with a spec, as issues with a place, and how they are told."""

from collections.abc import Iterable, Sequence
from typing import Any

from hephaes_rpc.errors import SpecError
from hephaes_rpc.serde import Issue, Path, closest, shown, unstructure


def spec_error(issues: Sequence[Issue], **data: Any) -> SpecError:
    """The issues as one error; ``data.errors`` lists them with JSON pointers, beside what else is told."""
    more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
    return SpecError(issues[0].message + more, errors=[told(issue) for issue in issues], **data)


def pointer(path: Path) -> str:
    """The JSON pointer of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def told(issue: Issue) -> dict[str, Any]:
    """An issue as an error lists it."""
    return {
        "pointer": pointer(issue.path),
        "message": issue.message,
        "expected": issue.expected,
        "got": issue.got,
        "did_you_mean": issue.guess,
    }


def no_effect(path: Path, value: Any, message: str, expected: str = "nothing") -> Issue:
    """The issue of a value that is accepted nowhere because nothing would come of it."""
    return Issue(path, message, expected, shown_free(value))


def shown_free(value: Any) -> str:
    """A free value, in short."""
    return shown(unstructure(value, Any))


def unknown(path: Path, message: str, word: str, choices: Iterable[str]) -> Issue:
    """The issue of a word that is none of ``choices``, with the nearest of them."""
    known = list(choices)
    guess = closest(word, known)
    hint = f"; did you mean {guess!r}?" if guess else ""
    return Issue(path, message + hint, "one of " + ", ".join(map(repr, known)), shown(word), guess)
