"""Bytes to blocks: one module per format, each around a well-kept parser. Nothing here reads a file, a socket or a setting.

Parsers meet hostile input. They run in a child process (`app.ingest.sandbox`), and only there is `registry` imported: the gateway
loads no parser. What they return has passed `normalise.clean`.
"""
