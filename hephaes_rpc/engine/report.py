"""A manifest for people: a short Markdown page per dataset file."""

from collections.abc import Sequence
from typing import Any

_COLUMNS = ("field", "topic", "type", "messages", "decoded", "failed", "equal times", "out of order", "changed values")


def report(manifest: dict[str, Any], warnings: Sequence[str]) -> bytes:
    """The report of the file that ``manifest`` describes."""
    dataset, source, temporal = manifest["dataset"], manifest["source"], manifest["temporal"]
    resample = manifest["conversion"]["resample"]
    rows = "as recorded" if resample is None else f"{resample['method']} to {resample['freq_hz']:g} Hz"
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
        f"- Rows: {rows}",
        f"- SHA-256: {dataset['sha256']}",
        f"- Written by: hephaes-rpc {manifest['hephaes_version']}",
        "",
        "## Fields",
        "",
        _row(_COLUMNS),
        _row(["---"] * 3 + ["---:"] * (len(_COLUMNS) - 3)),
        *(_row(_field(name, topic)) for name, topic in manifest["conversion"]["topics"].items()),
    ]
    if warnings:
        lines += ["", "## Warnings", "", *(f"- {_text(warning)}" for warning in warnings)]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _field(name: str, topic: dict[str, Any]) -> list[str]:
    changed = topic["replaced_strings"] + topic["narrowed_float64"] + topic["wrapped_uint64"]
    names = ("messages", "decoded", "decode_failures", "collisions", "out_of_order")
    return [name, topic["topic"], topic["type"], *(f"{topic[key]:,}" for key in names), f"{changed:,}"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_text(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _text(value: str) -> str:
    """One line of Markdown that does not end the line it stands in."""
    return " ".join(value.split())
