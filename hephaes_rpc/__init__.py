"""Hephaes RPC: robot logs in, training datasets out, over JSON-RPC on stdio."""

__version__ = "0.1.0"
