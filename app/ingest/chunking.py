"""Cuts a parsed document into chunks along its own structure, and says what is embedded of each.

The recipe is the one of the handbook study: whole blocks of one section packed to about 120 words, the header row of a table
and the lead-in of a list repeated where they are cut, sections below 40 words joined to their neighbour. Chunk sizes of 80 and
200 words, overlap and fixed windows were measured and gained nothing. Time and memory are linear in the text.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from app.domain.content import BlockKind, Chunk, ChunkedDocument, ChunkId, DocumentId, ParsedDocument, Sentence
from app.ingest.draft import Draft, Piece
from app.ingest.layout import PlacedBlock, lay_out, shared_headings
from app.ingest.quotables import ContextTracker, Quotable, quotables
from app.ingest.sentences import Range, cut_long

CHUNK_WORDS = 120
SMALL_WORDS = 40
CHUNK_CHARS = 2400
"""Bound for text without spaces: 120 words of German prose are about 900 characters, so prose never meets it."""


def chunk_document(document_id: DocumentId, version: int, parsed: ParsedDocument) -> ChunkedDocument:
    r"""Lay `parsed` out as one text and cut it into chunks, in reading order.

    For every chunk `"\n".join(text[a:b] for a, b in chunk.ranges) == chunk.text`. Every sentence stands in exactly one chunk;
    a repeated header row or lead-in is text of a chunk but no sentence of it. All text is raw.
    """
    text, placed = lay_out(parsed.blocks)
    tracker = ContextTracker(parsed.title)
    drafts: list[Draft] = []
    for _, group in groupby(placed, key=lambda p: p.block.section):
        for draft in _pack_section(text, group, tracker):
            if not (drafts and _join(drafts[-1], draft)):
                drafts.append(draft)
    chunks = tuple(_seal(text, draft, ChunkId(f"{document_id}.{version}.{n}"), n) for n, draft in enumerate(drafts))
    return ChunkedDocument(parsed.title, text, chunks)


def embedding_text(title: str, chunk: Chunk) -> str:
    """What is embedded for a chunk as a whole: title and headings on one line, the text below."""
    return " > ".join((title, *chunk.heading_path)) + "\n" + chunk.text


def sentence_texts(sentence: Sentence) -> tuple[str, str]:
    """What is embedded for one sentence: in its context, and alone."""
    return f"{sentence.context}\n{sentence.standalone}", sentence.standalone


def _pack_section(text: str, group: Iterable[PlacedBlock], tracker: ContextTracker) -> Iterator[Draft]:
    """Pack the blocks of one section; yields only drafts with words of their own."""
    draft: Draft | None = None
    header: Piece | None = None
    for placed in group:
        found = quotables(placed, tracker.context(placed.block), CHUNK_WORDS)
        pieces = _pieces(text, placed, found)
        header = _header_in_force(header, placed, pieces)
        for piece in pieces:
            if draft is None:
                draft = Draft.of(placed)
            elif draft.is_full(piece, CHUNK_WORDS, CHUNK_CHARS):
                carried = header if placed.block.kind is BlockKind.ROW else draft.lead if placed.block.kind is BlockKind.ITEM else None
                yield draft
                draft = Draft.of(placed, carried)
            draft.add(piece)
    if draft is not None:
        yield draft


def _header_in_force(header: Piece | None, placed: PlacedBlock, pieces: list[Piece]) -> Piece | None:
    """The header row to repeat above the next rows. A header that would fill half a chunk is not: it would multiply the text."""
    if placed.block.kind is BlockKind.HEADER:
        short = len(pieces) == 1 and pieces[0].words <= CHUNK_WORDS // 2 and pieces[0].end - pieces[0].start <= CHUNK_CHARS // 4
        return pieces[0] if short else None
    return header if placed.block.kind is BlockKind.ROW else None


def _pieces(text: str, placed: PlacedBlock, found: list[Quotable]) -> list[Piece]:
    """A block as a whole, or packed from its quotables to chunk size when it is longer."""
    words = len(placed.block.text.split())
    if words <= CHUNK_WORDS and placed.end - placed.start <= CHUNK_CHARS:
        return [Piece(placed.start, placed.end, words, placed.block.kind, ends_open=text[placed.end - 1] == ":", found=tuple(found))]
    if not found:
        return [_piece(text, placed.block.kind, [Quotable(a, b, "", "")], ()) for a, b in cut_long(text, placed.start, placed.end)]
    pieces: list[Piece] = []
    run: list[Quotable] = []
    run_words = 0
    for one in found:
        count = len(text[one.start : one.end].split())
        if run and (run_words + count > CHUNK_WORDS or one.end - run[0].start > CHUNK_CHARS):
            pieces.append(_piece(text, placed.block.kind, run, tuple(run)))
            run, run_words = [], 0
        run.append(one)
        run_words += count
    pieces.append(_piece(text, placed.block.kind, run, tuple(run)))
    return pieces


def _piece(text: str, kind: BlockKind, run: list[Quotable], found: tuple[Quotable, ...]) -> Piece:
    start, end = run[0].start, run[-1].end
    return Piece(start, end, len(text[start:end].split()), kind, ends_open=text[end - 1] == ":", found=found)


def _join(first: Draft, second: Draft) -> bool:
    """Join two neighbours into `first` when one is small, both fit, and they share a heading or stand at the top level."""
    if min(first.words, second.words) >= SMALL_WORDS or first.words + second.words > CHUNK_WORDS:
        return False
    if first.chars + second.chars > CHUNK_CHARS:
        return False
    shared = shared_headings(first.headings, second.headings)
    if not shared and min(len(first.headings), len(second.headings)) > 1:
        return False
    first.absorb(second, shared)
    return True


def _seal(text: str, draft: Draft, chunk_id: ChunkId, ordinal: int) -> Chunk:
    """Turn a draft into a chunk: join ranges that are consecutive lines, translate offsets into the chunk's own text."""
    ranges = _consecutive_lines(text, draft.ranges)
    sentences: list[Sentence] = []
    waiting = iter(draft.found)
    one = next(waiting, None)
    offset = 0
    for start, end in ranges:
        while one is not None and start <= one.start and one.end <= end:
            at = offset + one.start - start
            sentences.append(Sentence(at, at + one.end - one.start, one.standalone, one.context))
            one = next(waiting, None)
        offset += end - start + 1
    body = "\n".join(text[a:b] for a, b in ranges)
    return Chunk(chunk_id, ordinal, body, tuple(ranges), draft.headings, tuple(sentences), draft.section)


def _consecutive_lines(text: str, ranges: list[Range]) -> list[Range]:
    joined: list[Range] = []
    for start, end in ranges:
        if joined and joined[-1][1] + 1 == start and text[start - 1] == "\n":
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
