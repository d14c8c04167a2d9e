"""``hephaes-rpc inspect``: a log's topics, times and compression from its index; with ``--json`` also what was read."""

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import asdict

from hephaes_rpc.cli.quality import lines
from hephaes_rpc.cli.terminal import aligned, amount, display, printable, seconds
from hephaes_rpc.engine.logs.describe import NS_PER_S, LogInfo, StreamInfo, describe
from hephaes_rpc.engine.logs.opening import open_log
from hephaes_rpc.engine.logs.types import LogSummary
from hephaes_rpc.engine.quality.indexed import quality_by_index
from hephaes_rpc.errors import HephaesError
from hephaes_rpc.model.quality import Quality

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``inspect``."""
    parser.add_argument("log", metavar="LOG", help="a .bag, .mcap or .db3 file, or a recording's folder")
    parser.add_argument("--json", action="store_true", help="print JSON, for a refused log too")
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        help="read every message: checksums, what is damaged, how many differ (default: with --json)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the description; a log that is refused has it printed too, as JSON."""
    check = arguments.json if arguments.check is None else arguments.check
    try:
        document, info, quality = _inspect(arguments.log, check)
    except HephaesError as error:
        if arguments.json:
            _print_json(_refused(arguments.log, error))
        raise
    if arguments.json:
        _print_json(document)
    else:
        _print_table(document, info, quality)
    return 0


def _inspect(path: str, check: bool) -> tuple[dict[str, Any], LogInfo, Quality]:
    with open_log(path) as log:
        counted = None
        if check:
            from hephaes_rpc.engine.logs.reading import count_messages

            with display() as shown:
                counted = count_messages(log, lambda done, total: shown.update(path, "read", done, total, "chunks"))
        info, quality, summary = describe(log), quality_by_index(log), log.summary
    document = {
        "path": summary.path,
        "outcome": summary.outcome,
        "error": None,
        "checked": check,
        "storage_format": summary.storage_format,
        "ros_version": summary.ros_version,
        "profile": summary.profile,
        "library": summary.library,
        "size_bytes": summary.size_bytes,
        "start_ns": summary.start_ns,
        "end_ns": summary.end_ns,
        "start_time": _iso(summary.start_ns),
        "end_time": _iso(summary.end_ns),
        "duration_s": info.duration_s,
        "message_count": summary.message_count,
        "messages_read": counted and counted.messages,
        "messages_distinct": counted and counted.distinct,
        "recovered": summary.recovered,
        "reason": summary.reason,
        "lost_ranges": [asdict(lost) for lost in summary.lost_ranges],
        "gaps": summary.gaps,
        "warnings": summary.warnings,
        "compression": _compression(summary),
        "sensor_types": list(info.sensor_types),
        "topics": [_topic(stream) for stream in info.streams],
        "quality": asdict(quality),
    }
    return document, info, quality


def _refused(path: str, error: HephaesError) -> dict[str, Any]:
    return {
        "path": path,
        "outcome": "refused",
        "error": {"kind": error.kind, "message": error.message},
        "messages_read": 0,
        "messages_distinct": 0,
        "recovered": False,
        "reason": error.message,
        "lost_ranges": [],
        "gaps": [],
        "warnings": [],
    }


def _compression(summary: LogSummary) -> list[dict[str, Any]]:
    return [
        {"compression": name, "chunks": use.chunks, "stored_bytes": use.stored_bytes, "raw_bytes": use.raw_bytes}
        for name, use in summary.compression.items()
    ]


def _topic(stream: StreamInfo) -> dict[str, Any]:
    return {
        "name": stream.topic,
        "message_type": stream.type_name,
        "message_count": stream.message_count,
        "rate_hz": stream.rate_hz,
        "start_ns": stream.start_ns,
        "end_ns": stream.end_ns,
        "max_gap_ns": stream.max_gap_ns,
        "out_of_order": stream.out_of_order,
        "connection_count": stream.connection_count,
        "encoding": stream.encoding,
        "schema_encoding": stream.schema_encoding,
        "modality": stream.modality,
        "sensor_family": stream.sensor_family,
        "undecodable": stream.undecodable,
    }


def _iso(time_ns: int | None) -> str | None:
    """ISO 8601 in UTC with nanoseconds; None beyond the year 9999."""
    if time_ns is None or time_ns > 253_402_300_799 * NS_PER_S:
        return None
    whole, rest = divmod(time_ns, NS_PER_S)
    return f"{(_EPOCH + timedelta(seconds=whole)):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def _print_json(document: dict[str, Any]) -> None:
    json.dump(document, sys.stdout, indent=2)
    print()


def _print_table(document: dict[str, Any], info: LogInfo, quality: Quality) -> None:
    for line in _facts(document):
        print(printable(line))
    rows = [("topic", "type", "messages", "rate", "largest gap", "encoding")]
    for stream in info.streams:
        encoding = stream.encoding if stream.undecodable is None else f"{stream.encoding} (cannot be decoded)"
        rows.append(
            (
                printable(stream.topic),
                printable(stream.type_name),
                f"{stream.message_count:,}",
                f"{stream.rate_hz:.4g} Hz" if stream.rate_hz else "",
                seconds(stream.max_gap_ns / NS_PER_S) if stream.max_gap_ns is not None else "",
                printable(encoding),
            )
        )
    print()
    for line in aligned(rows, right=(2, 3, 4)):
        print(line)
    if quality.findings:
        print()
    for line in lines(quality):
        print(printable(line))


def _facts(document: dict[str, Any]) -> list[str]:
    """The lines above the table."""
    of = f"{document['storage_format']}, {document['ros_version']}"
    if document["library"]:
        of += f", written by {document['library']}"
    lines = [f"log          {document['path']}", f"format       {of}"]
    lines.append(f"size         {amount(document['size_bytes'], 'bytes')}")
    if document["start_ns"] is not None:
        begin, end = (document[f"{end}_time"] or f"{document[f'{end}_ns']} ns" for end in ("start", "end"))
        lines.append(f"time         {begin} to {end} ({seconds(document['duration_s'])})")
    lines.append(f"messages     {document['message_count']:,} in {len(document['topics'])} topics")
    if document["checked"]:
        lines.append(f"read         {document['messages_read']:,}, {document['messages_distinct']:,} of them distinct")
    for use in document["compression"]:
        what = f"{use['chunks']:,} chunks" if use["chunks"] else "outside chunks"
        sizes = f"{amount(use['stored_bytes'], 'bytes')} of {amount(use['raw_bytes'], 'bytes')}"
        lines.append(f"compression  {use['compression'] or 'none'}: {what}, {sizes}")
    if document["outcome"] == "part":
        lines.append("outcome      part of the log cannot be read")
    score = document["quality"]["score"]["value"]
    lines.append(f"quality      {score} of 100, by its index; hephaes-rpc check looks into the messages")
    lines += [f"warning      {warning}" for warning in document["warnings"]]
    return lines
