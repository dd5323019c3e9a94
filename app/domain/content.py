"""What is stored and what is returned: collections, documents, versions, chunks, passages, citations, answers.

Offsets count Unicode code points, end exclusive. Text in `Chunk` and `DocumentVersion` is raw; text in `Passage`,
`Citation` and `Answer` has been rendered for one viewer.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from app.domain.access import Acl, DecisionId, Resource
from app.domain.identity import TenantId
from app.domain.privacy import HiddenSpan, Span

DocumentId = NewType("DocumentId", str)
ChunkId = NewType("ChunkId", str)
"""`<document id>.<version>.<ordinal>`, so that a repeated ingest writes the same ids."""


class DocumentState(StrEnum):
    """Life of a document. Only `live` is ever served."""

    PENDING = "pending"
    LIVE = "live"
    QUARANTINED = "quarantined"
    WITHDRAWN = "withdrawn"


class BlockKind(StrEnum):
    """What a block of a document is."""

    PARAGRAPH = "paragraph"
    ITEM = "item"
    HEADER = "header"
    ROW = "row"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Block:
    """One paragraph, list item, table header, table row or code block as a reader sees it, under its headings.

    `indent` is the nesting of a list item in columns; `header` holds the column names above a row (empty otherwise).
    """

    kind: BlockKind
    text: str
    section: int
    headings: tuple[str, ...]
    indent: int = 0
    header: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """The result of a parser: blocks in reading order and what the source says of itself."""

    title: str
    blocks: tuple[Block, ...]
    language: str | None = None
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sentence:
    """A quotable unit inside a chunk: `start`/`end` are offsets in the chunk's text.

    `standalone` is what is embedded alone (a row as "column: cell"); `context` is title, heading and lead-in.
    """

    start: int
    end: int
    standalone: str
    context: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored piece of one version. `ranges` are its parts in the version's text, joined by a line break in `text`."""

    chunk_id: ChunkId
    ordinal: int
    text: str
    ranges: tuple[tuple[int, int], ...]
    heading_path: tuple[str, ...]
    sentences: tuple[Sentence, ...]
    section: int = 0


@dataclass(frozen=True, slots=True)
class ChunkedDocument:
    """A parsed document laid out as one text and cut into chunks along its own structure."""

    title: str
    text: str
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of documents with one steward and shared defaults."""

    tenant: TenantId
    name: str
    title: str
    steward: str
    default_label: str
    languages: tuple[str, ...]
    retention_days: int | None
    redaction_profile: str
    model_routing: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Document:
    """A document of record. `resource()` is what policy is asked about."""

    tenant: TenantId
    document_id: DocumentId
    collection: str
    external_id: str
    title: str
    state: DocumentState
    live_version: int | None
    label: str
    sensitivity: int
    acl: Acl
    acl_version: int
    language: str
    source_uri: str
    valid_until: datetime | None
    created_at: datetime
    updated_at: datetime

    def is_served_at(self, moment: datetime) -> bool:
        """Whether anybody may be answered from it then: live, with a version, and still valid."""
        is_valid = self.valid_until is None or self.valid_until > moment
        return self.state is DocumentState.LIVE and self.live_version is not None and is_valid

    def resource(self) -> Resource:
        """The facts of this document that policy decides on."""
        return Resource(self.tenant, self.collection, frozenset({self.label}), self.sensitivity, self.acl)


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A chunk as the database of record holds it now, with its document: raw text and its spans, to be rendered before release."""

    chunk: Chunk
    spans: tuple[Span, ...]
    detector_digest: str
    document: Document
    version: int
    heading_spans: tuple[tuple[Span, ...], ...]
    title_spans: tuple[Span, ...]
    source_spans: tuple[Span, ...]
    redaction_profile: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage rendered for one viewer. `rank` counts from 1; `confidence` is calibrated evidence in 0..1, not an engine score."""

    passage_id: ChunkId
    document_id: DocumentId
    version: int
    collection: str
    label: str
    title: str
    source_uri: str
    heading_path: tuple[str, ...]
    text: str
    hidden: tuple[HiddenSpan, ...]
    rank: int
    confidence: float
    language: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A quote that stands verbatim in a passage's rendered text at `start:end`. `n` is the marker in the answer."""

    n: int
    passage_id: ChunkId
    document_id: DocumentId
    version: int
    title: str
    source_uri: str
    quote: str
    start: int
    end: int


class EvidenceState(StrEnum):
    """How strong the best evidence of a search is."""

    FOUND = "found"
    WEAK = "weak"
    NOTHING = "nothing"


class AnswerState(StrEnum):
    """What became of a question."""

    ANSWERED = "answered"
    CLOSEST_PASSAGES = "closest_passages"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where the record of a release stands in the log."""

    receipt_id: str
    log: str
    index: int
    leaf_hash: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Rendered passages and what is on record about them."""

    passages: tuple[Passage, ...]
    state: EvidenceState
    decision_id: DecisionId
    policy_digest: str
    receipt: Receipt
    degraded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelUse:
    """Which model spoke. `kind` is `extractive` or `generative`."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Grounding:
    """Share of the answer's sentences that a citation supports, and the ones it does not."""

    supported_share: float
    unsupported: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked answer for one viewer."""

    answer_id: str
    conversation_id: str
    question: str
    state: AnswerState
    text: str
    citations: tuple[Citation, ...]
    passages: tuple[Passage, ...]
    refusal_code: str | None
    refusal_message: str | None
    model: ModelUse
    grounding: Grounding
    prompt_tokens: int
    completion_tokens: int
    decision_id: DecisionId
    policy_digest: str
    receipt: Receipt
    degraded: tuple[str, ...]
    created_at: datetime
