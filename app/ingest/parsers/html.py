"""HTML through lxml: what a reader sees, as blocks. Scripts, styles, comments, navigation and hidden elements are dropped.

Dropping hidden elements protects readers from instructions and values that only a machine would read. Nothing is fetched.
"""

import re
from typing import TYPE_CHECKING

from lxml import etree, html

from app.domain.content import BlockKind, ParsedDocument
from app.errors import UnsupportedContentError
from app.ingest.parsers.normalise import clean
from app.ingest.parsers.outline import Outline

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADINGS = {f"h{n}": n for n in range(1, 7)}
_DROPPED = frozenset(
    "script style head template noscript svg math iframe object embed canvas audio video nav select".split(" ")  # noqa: SIM905 - a word list
)
_BLOCKS = frozenset(
    "p div section article main header footer aside blockquote ul ol li dl dt dd pre table tr td th caption "  # noqa: SIM905 - a word list
    "figure figcaption address details summary form fieldset legend hr body".split(" ")
)
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|(?:font-size|opacity)\s*:\s*0(?![.\d])", re.IGNORECASE)


def parse_html(source: str, fallback_title: str) -> ParsedDocument:
    """Read a page. Title from `<title>`, language from `lang`, keywords from `<meta name="keywords">`."""
    if not clean(source).strip():
        return Outline().build(fallback_title)
    root = _root(source)
    outline = Outline(root.findtext(".//head/title") or "")
    read_elements(root, outline)
    keywords = [k for meta in root.iterfind(".//meta[@name='keywords']") for k in (meta.get("content") or "").split(",")]
    language = (root.get("lang") or "").split("-")[0].lower()
    return outline.build(fallback_title, language if re.fullmatch("[a-z]{2}", language) else None, keywords)


def read_fragment(source: str, outline: Outline) -> None:
    """Append what a piece of HTML shows. A fragment without any text appends nothing."""
    if source.strip():
        read_elements(_root(f"<body>{source}</body>"), outline)


def _root(source: str) -> html.HtmlElement:
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=False)
    try:
        root = html.document_fromstring(clean(source).encode("utf-8"), parser=parser)
    except (etree.LxmlError, ValueError, AssertionError) as error:
        msg = "The HTML could not be read. Check that the file is complete and upload it again."
        raise UnsupportedContentError(msg) from error
    if any(entry.level_name == "FATAL" for entry in parser.error_log):
        # libxml2 stops at 256 levels and returns what it has: a document that is silently cut is worse than a refused one.
        msg = "The HTML is nested more than 256 levels deep. Simplify it and upload it again."
        raise UnsupportedContentError(msg)
    return root


def read_elements(root: html.HtmlElement, outline: Outline) -> None:
    """Append what `root` shows, in reading order. Walks events, not the call stack: depth costs nothing."""
    reader = _Reader(outline)
    walker = etree.iterwalk(root, events=("start", "end"))
    for event, element in walker:
        if event == "start" and not reader.start(element):
            walker.skip_subtree()
        elif event == "end":
            reader.end(element, is_root=element is root)
    reader.flush()


class _Reader:
    """Text since the last block border, and what that text will be."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._text: list[str] = []
        self._lists = 0
        self._item_open = False
        self._level = 0
        self._pre = False

    def start(self, element: html.HtmlElement) -> bool:
        """Enter an element; false when nothing below it is to be read."""
        tag = element.tag
        if tag in _DROPPED or is_hidden(element):
            return False
        if tag in _BLOCKS or tag in _HEADINGS:
            self.flush()
        if tag == "table" and is_grid(element):
            self._outline.table([list(row) for row in table_rows(element)])
            return False
        self._lists += tag in {"ul", "ol"}
        self._item_open = self._item_open or tag in {"li", "dd"}
        self._level = _HEADINGS.get(tag, self._level)
        self._pre = self._pre or tag == "pre"
        self._text.append("\n" if tag == "br" and self._pre else " " if tag == "br" else "")
        self._text.append(element.text or "")
        return True

    def end(self, element: html.HtmlElement, *, is_root: bool) -> None:
        """Leave an element and read the text after it."""
        tag = element.tag
        if tag in _BLOCKS or tag in _HEADINGS:
            self.flush()
        if tag not in _DROPPED and not is_hidden(element):
            self._lists -= tag in {"ul", "ol"}
            self._level = 0 if tag in _HEADINGS else self._level
            self._pre = self._pre and tag != "pre"
            self._item_open = self._item_open and not (tag in {"ul", "ol", "dl"} and self._lists <= 0)
        if not is_root:
            self._text.append(element.tail or "")

    def flush(self) -> None:
        """Append the collected text as one block."""
        text, self._text = "".join(self._text), []
        if not text.strip():
            return
        if self._level:
            self._outline.heading(self._level, text)
        elif self._pre:
            self._outline.add(BlockKind.CODE, text)
        elif self._item_open:
            self._outline.add(BlockKind.ITEM, text, indent=2 * max(0, self._lists - 1))
        else:
            self._outline.add(BlockKind.PARAGRAPH, text)


def is_hidden(element: html.HtmlElement) -> bool:
    """Whether a browser would not show the element."""
    style = element.get("style")
    return element.get("hidden") is not None or (style is not None and bool(_HIDDEN_STYLE.search(style)))


def is_grid(table: html.HtmlElement) -> bool:
    """Whether a table holds a grid of values: at least two columns and no table inside. Others are layout and read as blocks."""
    return table.find(".//table") is None and any(len(row) > 1 for row in table.iter("tr"))


def table_rows(table: html.HtmlElement) -> "Iterator[tuple[str, ...]]":
    """Cells of each row as text, line breaks inside a cell as ` ; `."""
    for row in table.iter("tr"):
        if not is_hidden(row):
            yield tuple(_cell_text(cell) for cell in row if cell.tag in {"td", "th"})


def _cell_text(cell: html.HtmlElement) -> str:
    parts: list[str] = []
    walker = etree.iterwalk(cell, events=("start", "end"))
    for event, element in walker:
        if event == "end":
            parts.append((element.tail or "") if element is not cell else "")
            parts.append(" " if element.tag in _BLOCKS else "")
        elif element.tag in _DROPPED or is_hidden(element):
            walker.skip_subtree()
        else:
            parts.append(" ; " if element.tag == "br" else "")
            parts.append(element.text or "")
    return " ".join("".join(parts).split())
