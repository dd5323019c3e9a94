"""A parsed document as JSON, for the pipe between a parser process and the gateway.

JSON and never pickle: whoever takes over a parser process must not be able to run code in the gateway. Reading checks every
type and every character again, because the writer is not trusted.
"""

import json
import struct

from app.domain.content import Block, BlockKind, ParsedDocument
from app.errors import UnsupportedContentError
from app.ingest.parsers.normalise import clean, one_line
from app.ingest.parsers.outline import MAX_BLOCKS, MAX_KEYWORDS_CHARS

MAX_CONTENT_BYTES = 50 * 1024 * 1024
FRAME = struct.Struct(">I")
MAX_RESULT_BYTES = 256 * 1024 * 1024
OK, REFUSED, LIMIT, CRASHED = b"o", b"r", b"l", b"c"
"""First byte of an answer: a document, a refusal with its sentence, a limit met, a crash."""
_MAX_INDENT = 1000
_BAD = "The parser gave an answer that could not be read. The file was not taken in."


def to_json(parsed: ParsedDocument) -> bytes:
    """UTF-8 JSON. Headings and column names repeat for every row, so each tuple is written once and referred to by number."""
    seen: dict[tuple[str, ...], int] = {(): 0}
    blocks = [  # the order of `_block`
        [b.kind.value, b.text, b.section, seen.setdefault(b.headings, len(seen)), b.indent, seen.setdefault(b.header, len(seen))]
        for b in parsed.blocks
    ]
    document = {
        "title": parsed.title,
        "language": parsed.language,
        "keywords": list(parsed.keywords),
        "paths": [list(path) for path in seen],
        "blocks": blocks,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", errors="replace")


def from_json(payload: bytes) -> ParsedDocument:
    """The document again. Raises UnsupportedContentError for anything that `to_json` would not have written."""
    try:
        document = json.loads(payload.decode("utf-8"))
        paths = [tuple(_line(part) for part in path) for path in document["paths"]]
        blocks = tuple(_block(entry, paths) for entry in document["blocks"])
        language = document["language"]
        parsed = ParsedDocument(
            title=_line(document["title"]),
            blocks=blocks,
            language=None if language is None else _line(language),
            keywords=tuple(_line(word) for word in document["keywords"]),
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise UnsupportedContentError(_BAD) from error
    if not blocks or len(blocks) > MAX_BLOCKS or sum(map(len, parsed.keywords)) > MAX_KEYWORDS_CHARS:
        raise UnsupportedContentError(_BAD)
    return parsed


def _block(entry: list[object], paths: list[tuple[str, ...]]) -> Block:
    kind, text, section, headings, indent, header = entry
    checked = BlockKind(_text(kind))
    body = _text(text) if checked is BlockKind.CODE else _text(text).replace("\n", " ")
    return Block(checked, body, _number(section), paths[_number(headings)], min(_number(indent), _MAX_INDENT), paths[_number(header)])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return clean(value)


def _line(value: object) -> str:
    return one_line(_text(value))


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError
    return value
