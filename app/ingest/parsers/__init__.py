"""Bytes to blocks: one module per format, each around a well-kept parser. Nothing here reads a file, a socket or a setting.

Parsers meet hostile input. They run in a child process (`app.ingest.sandbox`); what they return has passed `normalise.clean`.
"""

from app.ingest.parsers.registry import parse

__all__ = ["parse"]
