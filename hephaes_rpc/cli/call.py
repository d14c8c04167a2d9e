"""``hephaes-rpc call``: one request to a sidecar of its own."""

import argparse
import json
import sys
from typing import Any

from hephaes_rpc import stdio
from hephaes_rpc.cli.serve import add_arguments as add_serve_arguments
from hephaes_rpc.cli.terminal import say
from hephaes_rpc.client import Client, RpcError, serve_command
from hephaes_rpc.errors import HephaesError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``call``."""
    parser.add_argument("method", metavar="METHOD", help="for example assets/list")
    parser.add_argument("params", metavar="JSON", nargs="?", default="{}", help="params object; - reads stdin")
    add_serve_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the result as JSON; an error of the sidecar goes to stderr, exit code 1."""
    params = _params(arguments.params)
    try:
        with sidecar(arguments) as client:
            result = client.request(arguments.method, params, timeout=None)
    except RpcError as error:
        say(f"hephaes-rpc: {arguments.method}: error {error.code}: {error.message}")
        if error.data is not None:
            say(json.dumps(error.data))
        return 1
    json.dump(result, sys.stdout, indent=2)
    print()
    return 0


def sidecar(arguments: argparse.Namespace) -> Client:
    """A sidecar of its own, by the options of ``serve``; warnings and worse are all it logs, unless asked."""
    options = ["--log-level", arguments.log_level or "warning"]
    for name in ("workspace_root", "data_dir"):
        if (value := getattr(arguments, name)) is not None:
            options += [f"--{name.replace('_', '-')}", value]
    return Client(serve_command(*options))


def _params(text: str) -> Any:
    body = sys.stdin.buffer.read() if text == "-" else text.encode(errors="surrogateescape")
    try:
        return stdio.decode(body)
    except stdio.NotJSONError as error:
        raise HephaesError("parse_error", f"the params are not JSON: {error}") from None
