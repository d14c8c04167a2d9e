"""``hephaes-rpc serve``: the sidecar on stdin and stdout, which are claimed already."""

import argparse
import os

from hephaes_rpc.cli.parsing import Parser
from hephaes_rpc.config import LOG_LEVELS, Options
from hephaes_rpc.imports import importing
from hephaes_rpc.stdio import Wire


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``serve``."""
    parser.add_argument("--workspace-root", metavar="DIR", help="open or create this workspace, for this process only")
    parser.add_argument("--data-dir", metavar="DIR", help="root of local data (default: HEPHAES_BACKEND_DATA_DIR)")
    parser.add_argument("--log-level", choices=LOG_LEVELS, help="least level that is logged (default: info)")


def serve(argv: list[str], wire: Wire) -> int:
    """Run the sidecar until its client leaves; returns the exit code."""
    parser = Parser(prog="hephaes-rpc serve", allow_abbrev=False)
    add_arguments(parser)
    arguments = parser.parse_args(argv)
    with importing():
        from hephaes_rpc import server

    options = Options(
        workspace_root=arguments.workspace_root, data_dir=arguments.data_dir, log_level=arguments.log_level
    )
    return server.serve(wire, options, os.environ)
