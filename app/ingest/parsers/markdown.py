"""Markdown through markdown-it: CommonMark with tables, front matter, the dialects of static site generators, HTML inside.

Numbers of the handbook study rest on what a reader sees: markup off, words untouched, images and template tags gone.
"""

import re

from lxml import etree, html
from markdown_it import MarkdownIt
from markdown_it.token import Token

from app.domain.content import BlockKind, ParsedDocument
from app.errors import UnsupportedContentError
from app.ingest.parsers.front_matter import keywords, split_front_matter, text_field
from app.ingest.parsers.html import read_fragment, table_rows
from app.ingest.parsers.liquid import strip_liquid, strip_raw_marks
from app.ingest.parsers.normalise import clean
from app.ingest.parsers.outline import Outline

_MAX_NESTING = 60
_READER = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable(["table", "strikethrough"]).disable(["code"])
_FENCE = re.compile(r"^ {0,3}(?:>\s?)*\s*(`{3,}|~{3,})")
_TIGHT_HEADING = re.compile(r"^( {0,3}#{1,6})(?=[A-Z])", re.MULTILINE)
"""`#Heading` without a space is no heading in CommonMark but is one to every author who wrote it."""
_TABLE_START, _TABLE_END = re.compile(r"<table\b", re.IGNORECASE), re.compile(r"</table\s*>", re.IGNORECASE)
_SLOT = re.compile("\ue000(\\d+)\ue001")


def parse_markdown(source: str, fallback_title: str) -> ParsedDocument:
    """Read a page. Title, language and keywords from its head; Liquid is removed only from pages with a head, as generators do."""
    fields, body = split_front_matter(clean(source))
    body = body.replace("\ue000", "").replace("\ue001", "")
    body, tables = _outside_fences(body, with_liquid=fields is not None)
    outline = Outline(inline_text(text_field(fields or {}, "title")))
    _Reader(outline, tables).read(_tokens(body))
    language = text_field(fields or {}, "lang", "language").split("-")[0].lower()
    return outline.build(fallback_title, language if re.fullmatch("[a-z]{2}", language) else None, keywords(fields or {}))


def inline_text(source: str) -> str:
    """One line of Markdown as a reader sees it."""
    return "".join(_shown(token) for token in _READER.parseInline(source))


def _tokens(body: str) -> list[Token]:
    """Block tokens. markdown-it drops what is nested deeper than its limit without a word, so that is refused here."""
    tokens = _READER.parse(body)
    if any(token.level >= _MAX_NESTING - 1 for token in tokens):
        msg = f"Lists or quotes are nested deeper than {_MAX_NESTING // 2} levels. Flatten them and upload the page again."
        raise UnsupportedContentError(msg)
    return tokens


def _outside_fences(body: str, *, with_liquid: bool) -> tuple[str, list[list[tuple[str, ...]]]]:
    """Body ready for CommonMark, and its HTML tables, each replaced by a numbered slot. Fenced code passes unchanged."""
    tables: list[list[tuple[str, ...]]] = []
    parts: list[str] = []
    for is_code, text in _split_fences(body):
        if is_code:
            parts.append(strip_raw_marks(text) if with_liquid else text)
        else:
            plain = strip_liquid(text) if with_liquid else text
            parts.append(_TIGHT_HEADING.sub(r"\1 ", _lift_tables(plain, tables)))
    return "".join(parts), tables


def _split_fences(body: str) -> list[tuple[bool, str]]:
    parts: list[tuple[bool, list[str]]] = [(False, [])]
    fence = ""
    for line in body.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
            parts.append((True, [line]))
        elif mark and fence and mark[1][0] == fence[0] and len(mark[1]) >= len(fence):
            parts[-1][1].append(line)
            fence = ""
            parts.append((False, []))
        else:
            parts[-1][1].append(line)
    return [(is_code, "".join(lines)) for is_code, lines in parts]


def _lift_tables(text: str, tables: list[list[tuple[str, ...]]]) -> str:
    """Replace each HTML table by a slot: its cells may hold blank lines, which would end the HTML block for CommonMark."""
    parts: list[str] = []
    at = 0
    for start in _TABLE_START.finditer(text):
        if start.start() < at:
            continue
        end = _TABLE_END.search(text, start.end())
        if not end:
            break
        parts += [text[at : start.start()], f"\n\n\ue000{len(tables)}\ue001\n\n"]
        tables.append(_cells(text[start.start() : end.end()]))
        at = end.end()
    return "".join([*parts, text[at:]])


def _cells(source: str) -> list[tuple[str, ...]]:
    try:
        root = html.document_fromstring(f"<body>{source}</body>")
    except (etree.LxmlError, ValueError):
        return []
    return [tuple(inline_text(cell) for cell in row) for row in table_rows(root)]


class _Reader:
    """Walks the flat token stream of markdown-it."""

    def __init__(self, outline: Outline, tables: list[list[tuple[str, ...]]]) -> None:
        self._outline = outline
        self._tables = tables
        self._lists = 0
        self._items: list[bool] = []
        self._heading = 0
        self._rows: list[list[str]] | None = None

    def read(self, tokens: list[Token]) -> None:
        """Append what the tokens show; kinds of token without a step of their own show nothing."""
        for token in tokens:
            step = getattr(self, f"_{token.type}", None)
            if step is not None:
                step(token)

    def _heading_open(self, token: Token) -> None:
        self._heading = int(token.tag[1])

    def _heading_close(self, _token: Token) -> None:
        self._heading = 0

    def _bullet_list_open(self, _token: Token) -> None:
        self._lists += 1

    def _bullet_list_close(self, _token: Token) -> None:
        self._lists -= 1

    _ordered_list_open, _ordered_list_close = _bullet_list_open, _bullet_list_close

    def _list_item_open(self, _token: Token) -> None:
        self._items.append(False)

    def _list_item_close(self, _token: Token) -> None:
        self._items.pop()

    def _table_open(self, _token: Token) -> None:
        self._rows = []

    def _tr_open(self, _token: Token) -> None:
        if self._rows is not None:
            self._rows.append([])

    def _table_close(self, _token: Token) -> None:
        self._outline.table(self._rows or [])
        self._rows = None

    def _inline(self, token: Token) -> None:
        text = "".join(_shown(child) for child in token.children or ())
        slot = _SLOT.fullmatch(text.strip())
        if self._rows is not None:
            self._rows[-1].append(text)
        elif slot:
            self._outline.table(self._tables[int(slot[1])])
        elif self._heading:
            self._outline.heading(self._heading, text)
        elif self._items:
            self._item(text)
        else:
            self._outline.add(BlockKind.PARAGRAPH, text)

    def _item(self, text: str) -> None:
        """A list item, or a further paragraph of one, which hangs on its first."""
        further, self._items[-1] = self._items[-1], True
        self._outline.add(BlockKind.ITEM, text, indent=2 * (self._lists - 1) + further)

    def _fence(self, token: Token) -> None:
        self._outline.add(BlockKind.CODE, token.content)

    def _html_block(self, token: Token) -> None:
        read_fragment(token.content, self._outline)


def _shown(token: Token) -> str:
    """What a reader sees of one inline token; images show nothing, as their text is a stand-in for a picture."""
    if token.type in {"text", "code_inline"}:
        return token.content
    if token.type in {"softbreak", "hardbreak", "html_inline"}:
        return " "
    if token.type == "inline":
        return "".join(_shown(child) for child in token.children or ())
    return ""
