"""How dataset files are called, and that no two of a run are called the same."""

from collections.abc import Iterable

from attrs import frozen

from hephaes_rpc.engine.specs.issues import spec_error
from hephaes_rpc.engine.specs.spec import ConversionSpec, Placeholder, parse_template
from hephaes_rpc.serde import Issue, shown

ALL = "all"
TEMPLATE = ("output", "filename_template")


@frozen
class FilePart:
    """One file of a partition: which part of the split, which shard of it, how many rows."""

    split: str
    shard_index: int
    num_shards: int
    n_rows: int


def file_name(template: str | None, stem: str, episode_id: str, part: FilePart, extension: str) -> str:
    """The name of a file; SpecError where a template makes no plain name of it.

    Args:
        template: None is ``<stem>.<extension>``, with ``-<split>`` and ``-<shard>-of-<shards>`` where they tell.
    """
    if template is None:
        split = "" if part.split == ALL else f"-{part.split}"
        shard = "" if part.num_shards == 1 else f"-{part.shard_index:05}-of-{part.num_shards:05}"
        return f"{stem}{split}{shard}.{extension}"
    values: dict[str, str | int] = {
        "episode_id": episode_id,
        "split": part.split,
        "shard": part.shard_index,
        "shard_index": part.shard_index,
        "num_shards": part.num_shards,
        "extension": extension,
    }
    name = "".join(
        f"{values[each.name]!s:0>{each.width or 1}}" if isinstance(each, Placeholder) else each
        for each in parse_template(template)
    )
    if name.startswith(".") or any(mark in name for mark in "/\\\0"):
        message = f"output.filename_template {template!r} makes {name!r}, which is no plain file name"
        raise spec_error([Issue(TEMPLATE, message, "a template that makes plain file names", shown(template))])
    return name


def check_distinct(names: Iterable[str]) -> None:
    """Raise SpecError where two files of a run would have one name, or names that only case tells apart."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.get(name.casefold())) is not None:
            message = (
                f"two outputs would be called {name!r}"
                + ("" if other == name else f" and {other!r}, which not every disk can tell apart")
                + "; choose another output.filename_template"
            )
            raise spec_error([Issue(("output",), message, "a filename_template of distinct names", shown(name))])
        seen[name.casefold()] = name


def check_logs(spec: ConversionSpec, n_logs: int) -> None:
    """Raise SpecError where the files of several logs would have one name."""
    template = spec.output.filename_template
    if template is None or n_logs < 2:
        return
    if not any(isinstance(part, Placeholder) and part.name == "episode_id" for part in parse_template(template)):
        message = f"output.filename_template {template!r} gives {n_logs} logs one name; put {{episode_id}} in it"
        raise spec_error([Issue(TEMPLATE, message, "a template with {episode_id}", shown(template))])
