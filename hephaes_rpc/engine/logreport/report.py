"""A log as one HTML page: timeline, rates, latencies, fields, pictures, findings.

A chunk that turns out damaged or other than indexed makes the log rebuild its index from what can be read, once.
"""

import hashlib
from pathlib import Path

from attrs import frozen

from hephaes_rpc.engine.datasets.publish import Publication
from hephaes_rpc.engine.logreport.gather import gather
from hephaes_rpc.engine.logs import open_log
from hephaes_rpc.engine.task import Context
from hephaes_rpc.errors import HephaesError, LogError
from hephaes_rpc.model.quality import Basis, Quality


@frozen(kw_only=True)
class ReportFile:
    """A report that was written.

    Args:
        path: Absolute path.
        sha256: Of the whole file, hex.
    """

    path: str
    size_bytes: int
    sha256: str


def report_of(path: str, context: Context, quality: Quality | Basis = "index") -> bytes:
    """The page of a log, UTF-8; the same log and quality give the same bytes.  Raises what ``open_log`` raises.

    Args:
        quality: What is known of its quality, or from what that is to be told.
    """
    from hephaes_rpc.engine.logreport.page import page

    def indexed(done: int, total: int) -> None:
        context.check()
        context.progress("index", done, total, "bytes")

    name = Path(path).absolute().name
    with open_log(path, indexed) as log:
        try:
            facts = gather(log, name, context, quality)
        except LogError as error:
            if error.kind == "unsupported":
                raise
            log.rescan()
            facts = gather(log, name, context, quality)
    return page(facts, context)


def write_report(
    path: str, target: Path, context: Context, *, overwrite: bool = False, quality: Quality | Basis = "index"
) -> ReportFile:
    """Write the page of a log to ``target``: beside it first, then renamed.

    Raises:
        HephaesError: ``output_exists`` for a file that may not be replaced, or for the log itself.
    """
    target = target.absolute()
    with Publication(target.parent, context.temp_tag, overwrite=overwrite) as publication:
        publication.expect([target.name])
        if _same(target, Path(path)):
            raise HephaesError("output_exists", f"{target} is the log itself; it is never written", path=str(target))
        content = report_of(path, context, quality)
        publication.put(target.name, content)
        publication.commit()
    return ReportFile(path=str(target), size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
