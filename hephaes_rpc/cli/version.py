"""``hephaes-rpc version``."""

import argparse

from hephaes_rpc import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""
    del parser


def run(arguments: argparse.Namespace) -> int:
    """Print the version."""
    del arguments
    print(__version__)
    return 0
