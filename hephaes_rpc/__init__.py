"""Hephaes RPC: robot logs in, training datasets out, over JSON-RPC on stdio."""

from importlib.metadata import version

__version__ = version("hephaes-rpc")
