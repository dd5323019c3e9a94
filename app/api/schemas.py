"""Request and response bodies of asking. Names are those that callers rely on; fields may be added, meanings never change."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.domain.search import SearchLimits

MAX_QUESTION_CHARS = 8_000
MAX_TOP_K = 50
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
QuestionText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_QUESTION_CHARS)]


_SURROGATES = re.compile("[\ud800-\udfff]")


def _utc(moment: datetime) -> datetime:
    """The moment in UTC; one without a zone is taken as UTC."""
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        message = "is beyond the calendar"
        raise ValueError(message) from None


Moment = Annotated[datetime, AfterValidator(_utc)]


class Body(BaseModel):
    """A request body: unknown fields are refused, so that a misspelled filter is never ignored."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _of_characters(cls, value: object) -> object:
        """Refuse lone surrogates anywhere: no store, model or log takes them, and each would fail in its own way."""
        waiting = [value]
        while waiting:
            part = waiting.pop()
            if isinstance(part, str) and _SURROGATES.search(part):
                message = "holds a lone surrogate, which is no character"
                raise ValueError(message)
            if isinstance(part, dict):
                waiting += [*part.keys(), *part.values()]
            elif isinstance(part, list):
                waiting += part
        return value


class Filters(Body):
    """Narrow a search further."""

    labels: list[Name] = Field(default_factory=list, max_length=50)
    languages: list[Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]] = Field(default_factory=list, max_length=20)
    updated_after: Moment | None = None


class SearchBody(Body):
    """A search for passages."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "How much parental leave do I get?", "top_k": 5}]})

    query: QuestionText
    collections: list[Name] = Field(default_factory=list, max_length=100)
    purpose: Name | None = None
    top_k: int = Field(default=10, ge=1, le=MAX_TOP_K)
    conversation_id: Annotated[str, StringConstraints(max_length=80)] | None = None
    filters: Filters = Field(default_factory=Filters)


class AnswerBody(Body):
    """A question."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"question": "How much parental leave do I get?", "stream": False}]})

    question: QuestionText
    collections: list[Name] = Field(default_factory=list, max_length=100)
    purpose: Name | None = None
    conversation_id: Annotated[str, StringConstraints(max_length=80)] | None = None
    model: Annotated[str, StringConstraints(max_length=200)] | None = None
    top_k: int = Field(default=8, ge=1, le=MAX_TOP_K)
    stream: bool = False
    filters: Filters = Field(default_factory=Filters)


class HiddenView(BaseModel):
    """Where redaction replaced something, in code points of `text`, end exclusive."""

    start: int
    end: int
    entity_type: str


class PassageView(BaseModel):
    """A passage as rendered for the caller."""

    passage_id: str
    document_id: str
    version: int
    collection: str
    label: str
    title: str
    source_uri: str
    heading_path: list[str]
    text: str
    hidden: list[HiddenView]
    rank: int
    confidence: float
    language: str


class ReceiptView(BaseModel):
    """Where the record of this release stands."""

    receipt_id: str
    log: str
    index: int
    leaf_hash: str


class SearchView(BaseModel):
    """Passages, best first."""

    passages: list[PassageView]
    state: str
    decision_id: str
    policy_digest: str
    receipt: ReceiptView
    degraded: list[str]


class CitationView(BaseModel):
    """A quote, verbatim in its passage's text at `start:end`."""

    n: int
    passage_id: str
    document_id: str
    version: int
    title: str
    source_uri: str
    quote: str
    start: int
    end: int


class AnswerView(BaseModel):
    """A checked answer."""

    answer_id: str
    conversation_id: str
    question: str
    state: str
    answer: str
    citations: list[CitationView]
    passages: list[PassageView]
    refusal: dict[str, str] | None
    model: dict[str, str]
    grounding: dict[str, Any]
    usage: dict[str, int]
    decision_id: str
    policy_digest: str
    receipt: ReceiptView
    degraded: list[str]
    created_at: datetime


def limits_of(body: SearchBody | AnswerBody) -> SearchLimits:
    """The caller's narrowing as the index takes it."""
    return SearchLimits(tuple(body.collections), tuple(body.filters.labels), tuple(body.filters.languages), body.filters.updated_after)
