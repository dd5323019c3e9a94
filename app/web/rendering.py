"""Turns rendered domain values into the pieces that templates print: text, hidden spans, quotes, citation marks. No HTML here.

Templates print pieces through autoescaping and never a string of markup, so no document and no model can put tags on a page.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby, pairwise

from app.domain.content import Citation, Passage
from app.domain.privacy import HiddenSpan

_MARK = re.compile(r"\[(\d{1,3})\]|\[([A-Z][A-Z_]{1,40}) hidden\]|\*\*([^*\n]{1,400})\*\*")
_BAR = " | "
_BULLET = re.compile(r"^\s*(?:[-*]|\d{1,2}[.)])\s+(.*)$")


@dataclass(frozen=True, slots=True)
class Viewer:
    """What the frame of a page shows of the person signed in.

    `reads` is false for those whose role has no content, `rereads` for those who may not read back their own questions.
    """

    display_name: str
    company: str
    clearance_label: str
    reads: bool
    rereads: bool
    is_officer: bool
    csrf_token: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text. `hidden` names the kind of a hidden span (its text is not kept); `quote` is a citation number, 0 for none.

    `anchor` is set on the first piece of a quote only, so that an address on the page stays unique.
    """

    text: str
    hidden: str = ""
    quote: int = 0
    anchor: str = ""
    cite: int = 0
    strong: bool = False


Line = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class TextBlock:
    """A paragraph, a list of items, or table rows: then `rows` holds the cells of each line."""

    is_list: bool
    lines: tuple[Line, ...]
    rows: tuple[tuple[Line, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class HiddenKind:
    """How often one kind of personal data is hidden in the passages shown, and in which of them."""

    entity_type: str
    count: int
    passages: tuple["PlacedPassage", ...]


@dataclass(frozen=True, slots=True)
class PlacedPassage:
    """A passage on a page: `place` counts from 1 and names its anchor, `marks` are the citation numbers that lead into it."""

    place: int
    passage: Passage
    marks: tuple[int, ...] = ()


def passage_lines(text: str, hidden: Sequence[HiddenSpan], citations: Sequence[Citation] = ()) -> list[list[Piece]]:
    """Rendered text by line. Hidden spans come as their kind alone, quotes with their number; offsets are those of `text`."""
    spans = sorted((one for one in hidden if 0 <= one.start < one.end <= len(text)), key=lambda one: one.start)
    quotes = sorted((one for one in citations if 0 <= one.start < one.end <= len(text)), key=lambda one: one.start)
    ranges = [(one.start, one.end) for one in spans] + [(one.start, one.end) for one in quotes]
    borders = {0, len(text)}.union(*ranges)
    anchored: set[int] = set()
    lines: list[list[Piece]] = [[]]
    for start, end in pairwise(sorted(borders)):
        span = next((one for one in spans if one.start <= start < one.end), None)
        number = next((one.n for one in quotes if one.start <= start < one.end), 0)
        if span is not None and start != span.start:
            continue
        anchor = f"quote-{number}" if number and number not in anchored else ""
        anchored.add(number)
        if span is not None:
            lines[-1].append(Piece("", span.entity_type, number, anchor))
            continue
        for n, part in enumerate(text[start:end].split("\n")):
            if n:
                lines.append([])
            if part:
                lines[-1].append(Piece(part, quote=number, anchor=anchor))
                anchor = ""
    return [line for line in lines if line]


def answer_blocks(text: str, numbers: Iterable[int] = ()) -> list[TextBlock]:
    """An answer's text as paragraphs and lists. `[n]` becomes a mark only when `n` is one of `numbers`; `**…**` is strong."""
    known = frozenset(numbers)
    blocks: list[TextBlock] = []
    for raw in text.split("\n"):
        line = raw.strip()
        if not line:
            continue
        bullet = _BULLET.match(line)
        pieces = tuple(_inline(bullet[1] if bullet else line, known))
        if bullet and blocks and blocks[-1].is_list:
            blocks[-1] = TextBlock(is_list=True, lines=(*blocks[-1].lines, pieces))
        else:
            blocks.append(TextBlock(is_list=bool(bullet), lines=(pieces,)))
    return with_tables(blocks)


def source_blocks(lines: Sequence[Sequence[Piece]]) -> list[TextBlock]:
    """The lines of a passage as paragraphs and tables."""
    return with_tables([TextBlock(is_list=False, lines=(tuple(line),)) for line in lines])


def with_tables(blocks: Sequence[TextBlock]) -> list[TextBlock]:
    """The same blocks with each run of rows made one table. A lone line with a bar in it is no table: it may be a command."""
    result: list[TextBlock] = []
    for width, run in groupby(blocks, key=lambda block: 0 if block.is_list else len(_cells(block.lines[0]))):
        members = list(run)
        if width > 1 and len(members) > 1:
            lines = tuple(block.lines[0] for block in members)
            result.append(TextBlock(is_list=False, lines=lines, rows=tuple(_cells(line) for line in lines)))
        else:
            result += members
    return result


def _cells(line: Line) -> tuple[Line, ...]:
    """A line cut at the bars between the cells of a row. An anchor stays where its quote begins."""
    cells: list[list[Piece]] = [[]]
    for piece in line:
        anchor = piece.anchor
        for n, part in enumerate(piece.text.split(_BAR)):
            if n:
                cells.append([])
            if part or _BAR not in piece.text:
                cells[-1].append(replace(piece, text=part, anchor=anchor))
                anchor = ""
    return tuple(tuple(cell) for cell in cells)


def _inline(line: str, known: frozenset[int]) -> Iterator[Piece]:
    at = 0
    for match in _MARK.finditer(line):
        if match[1] and int(match[1]) not in known:
            continue
        before = line[at : match.start()]
        if before:
            yield Piece(before.rstrip() if match[1] else before)  # a mark brings its own space, so that no line begins with one
        at = match.end()
        if match[1]:
            yield Piece("", cite=int(match[1]))
        elif match[2]:
            yield Piece("", hidden=match[2])
        else:
            yield Piece(match[3], strong=True)
    if at < len(line):
        yield Piece(line[at:])


def citations_of(passage: Passage, citations: Sequence[Citation]) -> list[Citation]:
    """Those citations that stand in `passage`."""
    return [one for one in citations if one.passage_id == passage.passage_id]


def placed(passages: Sequence[Passage], citations: Sequence[Citation]) -> list[PlacedPassage]:
    """Passages with their places and marks: quoted ones first in the order of their marks, the others in their order of rank."""
    everything = [
        PlacedPassage(place, one, tuple(sorted(citation.n for citation in citations_of(one, citations))))
        for place, one in enumerate(passages, 1)
    ]
    return sorted(everything, key=lambda one: (not one.marks, one.marks[:1]))


def hidden_kinds(passages: Sequence[Passage]) -> list[HiddenKind]:
    """What is hidden in the passages this viewer sees, by kind. Nothing is counted that they do not see hidden themselves."""
    counts = Counter(span.entity_type for passage in passages for span in passage.hidden)
    places = placed(passages, ())
    return [
        HiddenKind(kind, count, tuple(one for one in places if any(span.entity_type == kind for span in one.passage.hidden)))
        for kind, count in sorted(counts.items())
    ]


def kind_name(entity_type: str) -> str:
    """`PHONE_NUMBER` as people read it."""
    return entity_type.replace("_", " ")


def utc_text(moment: datetime) -> str:
    """`20 Nov 2026, 10:52:07 UTC`."""
    return f"{moment.astimezone(UTC):%-d %b %Y, %H:%M:%S} UTC"


def minute_text(moment: datetime) -> str:
    """`20 Nov 2026, 10:52 UTC`, where the second matters to nobody."""
    return f"{moment.astimezone(UTC):%-d %b %Y, %H:%M} UTC"


def clock_text(moment: datetime) -> str:
    """`20 Nov, 10:52:07`, under a table head that says UTC."""
    return f"{moment.astimezone(UTC):%-d %b, %H:%M:%S}"


def iso_text(moment: datetime) -> str:
    """RFC 3339 with `Z`."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def short_digest(digest: str) -> str:
    """A digest cut in the middle; the page offers the whole one for copying."""
    name, _, value = digest.rpartition(":")
    cut = value if len(value) <= 12 else f"{value[:8]} … {value[-4:]}"  # noqa: PLR2004 - eight and four and the gap
    return f"{name}:{cut}" if name else cut


def short_id(value: str) -> str:
    """`doc_01a2…cc458de3e50` as `doc_… 58de3e50`: the kind and the random end. The page offers the whole one elsewhere."""
    kind, separator, rest = value.partition("_")
    return f"{kind}_… {rest[-8:]}" if separator and len(rest) > 12 else value  # noqa: PLR2004 - shorter ones stay whole


def spoken_count(count: int, word: str) -> str:
    """`1 passage`, `3 passages`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


FILTERS = {
    "passage_lines": passage_lines,
    "answer_blocks": answer_blocks,
    "source_blocks": source_blocks,
    "citations_of": citations_of,
    "hidden_kinds": hidden_kinds,
    "placed": placed,
    "counted": spoken_count,
    "kind_name": kind_name,
    "utc": utc_text,
    "minute": minute_text,
    "clock": clock_text,
    "iso": iso_text,
    "short": short_digest,
    "short_id": short_id,
}
"""Names under which templates call these functions."""
