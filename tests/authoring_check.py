"""Every readable log: looked at, drafted with each template that applies, previewed, converted, without one edit.

    python -m tests.authoring_check [--shared DIR] [NAME ...]

For both formats the rows of previews (the first, the middle and the last ones) must be the rows of the output: the
columns of the Parquet file, and the very records of the TFRecord file.  One line per log, exit code 1 on a difference.
"""

import argparse
import os
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from attrs import evolve

from hephaes_rpc.engine.authoring.authored import TEMPLATES, DraftRequest, InspectRequest, PreviewRequest, Template
from hephaes_rpc.engine.authoring.preview import Preview
from hephaes_rpc.engine.authoring.workbench import draft_log, inspect_log, preview_log
from hephaes_rpc.engine.datasets.writers import open_writer
from hephaes_rpc.engine.datasets.writers.base import ColumnRole
from hephaes_rpc.engine.pipeline import ConvertTask, convert
from hephaes_rpc.engine.specs.document import SpecDocument, dump, load
from hephaes_rpc.engine.specs.spec import ConversionSpec, Output, ParquetOutput, TFRecordOutput
from hephaes_rpc.errors import HephaesError
from tests.corpus import Context

ROWS = 5
LOG_SUFFIXES = (".bag", ".mcap", ".db3")


def check_log(log: Path, templates: tuple[Template | None, ...] = (None, *TEMPLATES)) -> tuple[list[str], list[str]]:
    """What was drafted for a log, and what is wrong with it; HephaesError for a log that cannot be read."""
    inspect_log(str(log), InspectRequest(), Context())
    done, problems = [], []
    for template in templates:
        for output in (ParquetOutput(), TFRecordOutput()):
            try:
                request = DraftRequest(template=template, output_format=output.format, preview_rows=ROWS)
                _, drafted = draft_log(str(log), InspectRequest(), request, Context(), time.perf_counter)
            except HephaesError as error:
                if error.kind != "unsupported":
                    problems.append(f"{template}: {error.kind}: {error.message}")
                break
            name = f"{template or 'general'} {output.format}"
            if drafted.preview is None:
                problems.append(f"{name}: {drafted.warnings}")
                continue
            spec = load(drafted.spec).spec
            if load(dump(SpecDocument(spec=spec), "yaml")).spec != spec:
                problems.append(f"{name}: the draft does not survive being written as YAML")
            problems += [f"{name}: {text}" for text in check_rows(log, spec)]
            done.append(name)
    return done, problems


def check_rows(log: Path, spec: ConversionSpec) -> Iterator[str]:
    """Differences between previews and the output."""
    with tempfile.TemporaryDirectory() as folder:
        task = ConvertTask(
            log_path=str(log), spec=spec, output_dir=folder, episode_id="episode_0001", stem="episode_0001"
        )
        result = convert(task, Context())
        (dataset,) = [Path(output.path) for output in result.outputs if output.role == "dataset"]
        rows = result.counts["rows"]
        for start in sorted({0, rows // 2, max(0, rows - ROWS)}):
            request = PreviewRequest(sample_n=ROWS, start_row=start)
            shown = preview_log(str(log), spec, request, Context(), time.perf_counter)
            estimate = shown.result.estimate
            if estimate.rows != rows and (estimate.rows_exact or estimate.rows < rows):
                yield f"{estimate.rows} rows were estimated, {rows} written"
            if shown.result.encoding.error is not None or not shown.result.preflight_ok:
                yield f"from row {start}: {shown.result.warnings}"
            if shown.table.num_rows != min(ROWS, rows - start) and estimate.rows_exact:
                yield f"from row {start}: {shown.table.num_rows} rows shown"
            dropped = 0 if estimate.rows_exact else estimate.rows - rows
            found: list[str] = []
            for place in range(start, max(0, start - dropped) - 1, -1):
                found = list(differences(dataset, spec.output, place, shown))
                if not found:
                    break
            yield from found


def differences(dataset: Path, output: Output, start: int, shown: Preview) -> Iterator[str]:
    """Where the rows of an output from ``start`` on are others than those shown."""
    n = shown.table.num_rows
    if isinstance(output, ParquetOutput):
        written = pq.read_table(dataset).slice(start, n)
        for name in shown.table.schema.names:
            if not _same(written[name], shown.table[name]):
                yield f"from row {start}: {name} differs"
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        roles = _roles(dataset)
        writer = open_writer(evolve(output), shown.table.schema, path, {}, roles)
        for batch in shown.table.to_batches():
            writer.write(batch)
        writer.finish()
        if list(records(path)) != list(records(dataset))[start : start + n]:
            yield f"from row {start}: the records differ"


def _same(written: pa.ChunkedArray, shown: pa.ChunkedArray) -> bool:
    """Whether columns have equal values, NaN and negative zeros told apart; image files come back without types."""
    found = written.to_pylist()
    if pa.types.is_struct(written.type) and [member.name for member in written.type] == ["bytes", "path"]:
        return [None if value is None else value["bytes"] for value in found] == [
            value["bytes"] if isinstance(value, dict) else value for value in shown.to_pylist()
        ]
    return bool(written.type == shown.type) and repr(found) == repr(shown.to_pylist())


def _roles(dataset: Path) -> dict[str, ColumnRole]:
    import json

    features = json.loads(dataset.with_name(f"{dataset.name}.manifest.json").read_bytes())["conversion"]["features"]
    return {
        name: ColumnRole(
            is_image=found["encoded_image"], is_json=found["dtype"] == "json", has_presence=found["presence_flag"]
        )
        for name, found in features.items()
    }


def records(path: Path) -> Iterator[bytes]:
    """The payloads of a TFRecord file."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        yield data[at + 12 : at + 12 + length]
        at += 16 + length


def logs_below(folder: Path) -> list[Path]:
    """Files with the names of logs."""
    return sorted(path for path in folder.rglob("*") if path.suffix in LOG_SUFFIXES and path.is_file())


def main() -> int:
    """Check all logs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("HEPHAES_SHARED", Path(__file__).parents[2] / "shared")
    parser.add_argument("--shared", type=Path, default=Path(default), help="folder that holds corpus/")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    corpus: Path = arguments.shared / "corpus"
    bad = refused = undraftable = drafts = 0
    logs = [p for p in logs_below(corpus) if not arguments.names or any(name in str(p) for name in arguments.names)]
    for log in logs:
        name = log.relative_to(corpus)
        try:
            done, problems = check_log(log)
        except HephaesError as error:
            refused += 1
            print(f"refused {name}: {error.message[:150]}", flush=True)
            continue
        except Exception:
            done, problems = [], [traceback.format_exc()]
        bad += bool(problems)
        drafts += len(done)
        undraftable += not done and not problems
        print("FAIL" if problems else "ok  ", name, "; ".join(done) or "nothing to draft", flush=True)
        for text in problems[:5]:
            print(f"    {text}", flush=True)
    told = f"{refused} cannot be read, {undraftable} have nothing to draft"
    print(f"{len(logs) - refused - bad} of {len(logs) - refused} logs ok with {drafts} drafts ({told})")
    return 1 if bad or not logs else 0


if __name__ == "__main__":
    sys.exit(main())
