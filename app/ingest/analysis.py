"""Finds personal data in a chunked document once, and prepares what is indexed and embedded of it.

Spans are found on the whole text and carried to the chunks, so that a name cut at a chunk border is still one name.
Words inside a span are taken out of the openly searchable text, and vectors are made of text without direct identifiers.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.domain.content import Chunk, ChunkedDocument
from app.domain.ports import Analyzer
from app.domain.privacy import Span
from app.domain.search import IndexedChunk
from app.ingest.chunking import embedding_text, sentence_texts
from app.privacy.entities import QUASI
from app.privacy.guarding import guarded, hidden_values, mask_values
from app.privacy.rendering import rebase
from app.storage.document_shapes import AnalyzedChunk, VersionRow

_SEPARATORS = re.compile(r"[/_\-.]")
_WORD = re.compile(r"\w+")
_LONGEST_NAME_WORDS = 5
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,5}$")


@dataclass(frozen=True, slots=True)
class Described:
    """What is said of a document outside its text: its address, a hint at its language, keywords of its front matter."""

    source_uri: str
    language: str | None
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnalyzedDocument:
    """A chunked document with every span found in it. Texts are raw."""

    title: str
    title_spans: tuple[Span, ...]
    source_uri: str
    source_spans: tuple[Span, ...]
    keywords: str
    keyword_spans: tuple[Span, ...]
    text: str
    spans: tuple[Span, ...]
    chunks: tuple[AnalyzedChunk, ...]
    language: str
    detector_digest: str


def analyze_document(detector: Analyzer, chunked: ChunkedDocument, described: Described) -> AnalyzedDocument:
    """Run the detector over text, title, headings, address and keywords. Blocking: tens of milliseconds a page."""
    whole = detector.analyze(chunked.text, described.language)
    spoken = described.language or whole.language
    known = _Known(chunked.text, whole.spans)

    def spans_of(text: str) -> tuple[Span, ...]:
        return known.joined_to(text, detector.analyze(text, spoken).spans) if text else ()

    headings = {heading for chunk in chunked.chunks for heading in chunk.heading_path}
    heading_spans = {heading: spans_of(heading) for heading in headings}
    keywords = "; ".join(described.keywords)
    chunks = tuple(
        AnalyzedChunk(chunk, rebase(whole.spans, chunk.ranges), tuple(heading_spans[one] for one in chunk.heading_path))
        for chunk in chunked.chunks
    )
    return AnalyzedDocument(
        title=chunked.title,
        title_spans=spans_of(chunked.title),
        source_uri=described.source_uri,
        # Separators of an address become spaces one for one, so that offsets hold in the address itself.
        source_spans=spans_of(_words_of(described.source_uri)),
        keywords=keywords,
        keyword_spans=spans_of(keywords),
        text=chunked.text,
        spans=whole.spans,
        chunks=chunks,
        language=spoken,
        detector_digest=whole.detector_digest,
    )


class _Known:
    """Direct identifiers found in a document's text, to be found again where they stand without the words that gave them away.

    A title "Notes on Mara" names nobody to a detector; the text below it tells who Mara is.
    """

    def __init__(self, text: str, spans: Sequence[Span]) -> None:
        self._values: dict[str, tuple[str, str]] = {}
        for span in spans:
            value = text[span.start : span.end]
            if span.entity_type not in QUASI:
                self._values[_key([word[0] for word in _WORD.finditer(value)])] = (value, span.entity_type)

    def joined_to(self, text: str, found: tuple[Span, ...]) -> tuple[Span, ...]:
        """`found`, and known values elsewhere in `text`; sorted and disjoint."""
        taken = list(found)
        for span in self._again(text):
            if all(span.end <= one.start or span.start >= one.end for one in taken):
                taken.append(span)
        return tuple(sorted(taken, key=lambda span: span.start))

    def _again(self, text: str) -> Iterator[Span]:
        words = list(_WORD.finditer(text))
        for length in range(min(_LONGEST_NAME_WORDS, len(words)), 0, -1):
            for first in range(len(words) - length + 1):
                run = words[first : first + length]
                value, entity_type = self._values.get(_key([word[0] for word in run]), ("", ""))
                start, end = run[0].start(), run[-1].end()
                # One word alone counts in its own spelling only: "Rose" is a person where "rose" is not.
                if entity_type and (length > 1 or text[start:end] == value):
                    yield Span(start, end, entity_type, 0.6, "known")


def _key(words: Sequence[str]) -> str:
    return " ".join(words).casefold()


def _words_of(address: str) -> str:
    """An address as words, offsets kept: separators and the file's ending become spaces (`.md` is no place in Maryland)."""
    words = _SEPARATORS.sub(" ", address)
    ending = _ENDING.search(address)
    return words if ending is None else words[: ending.start()] + " " * len(ending[0])


def indexed_chunks(analyzed: AnalyzedDocument) -> list[IndexedChunk]:
    """What is searched of each chunk: open words, and guarded words by entity type."""
    open_title, guarded_title = guarded(analyzed.title, analyzed.title_spans)
    open_source, guarded_source = guarded(_words_of(analyzed.source_uri), analyzed.source_spans)
    open_keywords, guarded_keywords = guarded(analyzed.keywords, analyzed.keyword_spans)
    about = (*guarded_title, *guarded_source, *guarded_keywords)
    indexed = []
    for one in analyzed.chunks:
        body, hidden = guarded(one.chunk.text, one.spans)
        headings = [guarded(text, spans) for text, spans in zip(one.chunk.heading_path, one.heading_spans, strict=True)]
        indexed.append(
            IndexedChunk(
                chunk_id=one.chunk.chunk_id,
                heading=" ".join([open_title, *(text for text, _ in headings)]),
                body=body,
                extra=f"{open_source} {open_keywords}",
                guarded=(*hidden, *about, *(part for _, parts in headings for part in parts)),
            )
        )
    return indexed


def values_to_mask(version: VersionRow, chunks: Sequence[AnalyzedChunk], shown: frozenset[str]) -> dict[str, str]:
    """What must be in no vector of a version, for a collection whose readers at large are `shown` these entity types.

    Of the whole version: a list item's context is the item above it, a row's is the head of its table, and either may be in another chunk.
    """
    values = hidden_values(version.text, version.spans, shown) | hidden_values(version.title, version.title_spans, shown)
    for one in chunks:
        values |= hidden_values(one.chunk.text, one.spans, shown)
        for heading, spans in zip(one.chunk.heading_path, one.heading_spans, strict=True):
            values |= hidden_values(heading, spans, shown)
    return values


def texts_to_embed(title: str, chunk: Chunk, values: Mapping[str, str]) -> list[str]:
    """Texts of one chunk in the order chunk, contexts, standalones (one each a sentence), with `values` masked."""
    pairs = [sentence_texts(sentence) for sentence in chunk.sentences]
    texts = [embedding_text(title, chunk), *(context for context, _ in pairs), *(standalone for _, standalone in pairs)]
    return mask_values(texts, values)
