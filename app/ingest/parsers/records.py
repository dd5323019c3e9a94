"""JSON: lists of records as tables, objects as "name: value" lines under headings. Numbers keep the digits of the file."""

import json
from collections.abc import Iterator
from typing import Final

from app.domain.content import BlockKind, ParsedDocument
from app.errors import UnsupportedContentError
from app.ingest.parsers.outline import Outline

JsonValue = str | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
MAX_DEPTH: Final = 32
_MAX_COLUMNS = 60
_MAX_NAME_CHARS = 80
_TOO_DEEP = f"The JSON is nested deeper than {MAX_DEPTH} levels. Flatten it and upload it again."


def parse_json(source: str, fallback_title: str) -> ParsedDocument:
    """Read one JSON value. Nested objects inside a record become paths (`address.city`). Title from a `title` or `name` member."""
    value = _load(source.removeprefix("\ufeff"))
    named = value if isinstance(value, dict) else {}
    title = next((v for v in (named.get("title"), named.get("name")) if isinstance(v, str)), "")
    outline = Outline(title or fallback_title)
    _read(value, outline, 1)
    return outline.build(fallback_title)


def parse_json_lines(source: str, fallback_title: str) -> ParsedDocument:
    """Read one JSON value a line; empty lines are skipped."""
    outline = Outline(fallback_title)
    _read([_load(line) for line in source.removeprefix("\ufeff").split("\n") if line.strip()], outline, 1)
    return outline.build(fallback_title)


def _load(source: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(source, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError as error:
        raise UnsupportedContentError(_TOO_DEEP) from error
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        msg = f"The file is not valid JSON{where}. Correct it and upload it again."
        raise UnsupportedContentError(msg) from error
    return value


def _read(value: JsonValue, outline: Outline, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise UnsupportedContentError(_TOO_DEEP)
    if isinstance(value, dict):
        _read_object(value, outline, depth)
    elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
        _read_records([entry for entry in value if isinstance(entry, dict)], outline)
    elif isinstance(value, list):
        for entry in value:
            _read_entry(entry, outline, depth)
    else:
        outline.add(BlockKind.PARAGRAPH, _scalar(value))


def _read_entry(entry: JsonValue, outline: Outline, depth: int) -> None:
    if isinstance(entry, list | dict):
        _read(entry, outline, depth + 1)
    else:
        outline.add(BlockKind.ITEM, _scalar(entry))


def _read_object(value: dict[str, JsonValue], outline: Outline, depth: int) -> None:
    """Plain members first, then each nested one under a heading of its name: a heading holds for all that follows it."""
    nested = {name: member for name, member in value.items() if _is_nested(member)}
    for name, member in value.items():
        if name not in nested and member is not None:
            outline.add(BlockKind.ITEM, f"{name}: {_flat(member)}")
    for name, member in nested.items():
        outline.heading(depth + 1, name[:_MAX_NAME_CHARS] or "-")
        _read(member, outline, depth + 1)


def _is_nested(value: JsonValue) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value))


def _read_records(records: list[dict[str, JsonValue]], outline: Outline) -> None:
    """A table over the union of the records' paths; records too different for one table are written out one by one."""
    flat = [dict(_paths(record, "", 1)) for record in records]
    columns = list(dict.fromkeys(name for record in flat for name in record))
    if len(columns) <= _MAX_COLUMNS:
        outline.table([columns, *([record.get(name, "") for name in columns] for record in flat)])
        return
    for record in flat:
        outline.add(BlockKind.ITEM, ", ".join(f"{name}: {text}" for name, text in record.items()))


def _paths(value: dict[str, JsonValue], prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > MAX_DEPTH:
        raise UnsupportedContentError(_TOO_DEEP)
    for name, member in value.items():
        path = prefix + name[:_MAX_NAME_CHARS]
        if isinstance(member, dict):
            yield from _paths(member, f"{path}.", depth + 1)
        elif isinstance(member, list) and _is_nested(member):
            numbered: dict[str, JsonValue] = {str(n): entry for n, entry in enumerate(member)}
            yield from _paths(numbered, f"{path}.", depth + 1)
        else:
            yield path, _flat(member)


def _flat(value: JsonValue) -> str:
    return ", ".join(_scalar(entry) for entry in value) if isinstance(value, list) else _scalar(value)


def _scalar(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else ""
