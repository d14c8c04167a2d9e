"""``hephaes-rpc openrpc``: the document that ``rpc.discover`` answers."""

import argparse
import json
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""
    del parser


def run(arguments: argparse.Namespace) -> int:
    """Print the document."""
    del arguments
    from hephaes_rpc.methods import register_all
    from hephaes_rpc.openrpc import document

    register_all()
    json.dump(document(), sys.stdout, indent=2)
    print()
    return 0
