"""A manifest for people: a short Markdown page per dataset file."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

_TOPICS = ("topic", "type", "messages", "decoded", "failed", "equal times", "out of order", "changed values")
_FEATURES = ("feature", "type", "rows", "own values", "stood in for", "absent", "dropped rows", "changed values")

MAX_TYPE_CHARS = 60


def report(manifest: dict[str, Any], warnings: Sequence[str]) -> bytes:
    """The report of the file that ``manifest`` describes."""
    dataset, source, temporal = manifest["dataset"], manifest["source"], manifest["temporal"]
    conversion = manifest["conversion"]
    lines = [
        f"# {_text(dataset['path'])}",
        "",
        f"- Episode: {_text(manifest['episode_id'])}",
        f"- Source: {_text(source['path'])} ({source['storage_format']}, {source['ros_version']}, "
        f"{source['file_size_bytes']:,} bytes)",
        f"- Recorded: {temporal['start_time_iso'] or 'no messages'} to {temporal['end_time_iso'] or 'no messages'}, "
        f"{temporal['duration_seconds']:,.3f} s, {temporal['message_count']:,} messages",
        f"- Dataset: {dataset['format']}, compression {dataset['compression']}, {dataset['rows_written']:,} rows, "
        f"{dataset['file_size_bytes']:,} bytes",
        f"- Rows: {_rows(conversion)}",
        *_place(dataset, conversion),
        f"- SHA-256: {dataset['sha256']}",
        f"- Fingerprint of the messages read: {source['fingerprint']['value']}",
        f"- Written by: hephaes-rpc {manifest['hephaes_version']}",
        *_features(conversion),
        "",
        "## Topics" if "features" in conversion else "## Fields",
        "",
        *_topics(conversion),
    ]
    if warnings:
        lines += ["", "## Warnings", "", *(f"- {_text(warning)}" for warning in warnings)]
    if conversion.get("preview"):
        rows = orjson.dumps(conversion["preview"], option=orjson.OPT_INDENT_2).decode()
        lines += ["", "## First rows", "", "```json", rows, "```"]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _rows(conversion: dict[str, Any]) -> str:
    strategy, resample = conversion["row_strategy"], conversion["resample"]
    if strategy is None:
        return "as recorded" if resample is None else f"{resample['method']} to {resample['freq_hz']:g} Hz"
    match strategy["kind"]:
        case "trigger":
            joined = ", ".join(join["topic"] for join in strategy["joins"])
            what = f"one per message of {strategy['trigger_topic']}" + (f", joined with {joined}" if joined else "")
        case "per-message":
            what = f"one per message of {strategy['topic']}"
        case _:
            what = f"{strategy['method']} to {strategy['freq_hz']:g} Hz"
    return f"{_text(what)}; {conversion['dropped_rows']:,} of {conversion['candidate_rows']:,} dropped"


def _place(dataset: dict[str, Any], conversion: dict[str, Any]) -> Iterator[str]:
    """What of a run of several files this one is, and how its records were."""
    if "features" not in conversion:
        return
    counts = ", ".join(f"{part} {count:,}" for part, count in conversion["split_counts"].items())
    yield (
        f"- Part: {dataset['split_name']}, file {dataset['shard_index'] + 1} of {dataset['num_shards']} "
        f"(rows by part: {counts})"
    )
    preflight = conversion["preflight"]
    yield f"- Records: {preflight['bad_records']:,} bad of {preflight['checked_records']:,} checked"
    schema = conversion["schema"]
    yield f"- Schema: {_text(schema['name'])}, version {schema['version']}"
    if (label := preflight.get("label_summary")) is not None:
        yield f"- Labels: {label['present_count']:,} present, {label['missing_count']:,} missing"


def _features(conversion: dict[str, Any]) -> Iterator[str]:
    if "features" not in conversion:
        return
    yield from ("", "## Features", "", *_head(_FEATURES, 2))
    for name, feature in conversion["features"].items():
        filled, changed = (
            ", ".join(f"{what} {count:,}" for what, count in feature[key].items()) for key in ("filled", "changes")
        )
        numbers = [f"{feature['rows']:,}", f"{feature['present']:,}", filled, f"{feature['absent']:,}"]
        yield _row([name, _short(feature["type"]), *numbers, f"{feature['dropped']:,}", changed])


def _short(type_: str) -> str:
    return type_ if len(type_) <= MAX_TYPE_CHARS else f"{type_[:MAX_TYPE_CHARS]}..."


def _topics(conversion: dict[str, Any]) -> Iterator[str]:
    has_fields = "features" not in conversion
    yield from _head(("field", *_TOPICS) if has_fields else _TOPICS, 3 if has_fields else 2)
    for name, topic in conversion["topics"].items():
        changed = topic["replaced_strings"] + topic["narrowed_float64"] + topic["wrapped_uint64"]
        keys = ("messages", "decoded", "decode_failures", "collisions", "out_of_order")
        cells = [topic["topic"], topic["type"], *(f"{topic[key]:,}" for key in keys), f"{changed:,}"]
        yield _row([name, *cells] if has_fields else cells)


def _head(columns: Sequence[str], texts: int) -> Iterator[str]:
    """Titles, and the alignment of so many columns of text and the numbers after them."""
    yield _row(columns)
    yield _row(["---"] * texts + ["---:"] * (len(columns) - texts))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_text(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _text(value: str) -> str:
    """One line of Markdown that does not end the line it stands in."""
    return " ".join(value.split())
