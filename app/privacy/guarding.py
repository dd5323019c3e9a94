"""Keeps personal words out of what every viewer's search touches: the openly searchable text, and the vectors.

Search is a probe: a viewer who may not read a name must not find it by asking for it, neither by word nor by nearness.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from app.domain.privacy import Span
from app.domain.search import GuardedText
from app.privacy.entities import NEVER_SHOWN, QUASI

TYPE_WORDS = {
    "PERSON": "a person",
    "EMAIL_ADDRESS": "a mail address",
    "PHONE_NUMBER": "a phone number",
    "ADDRESS": "a postal address",
    "DATE_OF_BIRTH": "a date of birth",
    "ID_NUMBER": "an identity number",
    "CREDIT_CARD": "a card number",
    "IBAN_CODE": "a bank account",
    "BANK_ACCOUNT": "a bank account",
    "IP_ADDRESS": "a network address",
    "MAC_ADDRESS": "a network address",
    "SECRET": "a secret",
    "LOCATION": "a place",
    "ORGANIZATION": "an organization",
    "DATE_TIME": "a date",
    "AGE": "an age",
    "NRP": "a group of people",
    "TITLE": "a form of address",
    "URL": "a web address",
}
UNNAMED = "something withheld"


def hidden_values(text: str, spans: Sequence[Span], shown: Collection[str]) -> dict[str, str]:
    """Values in `text` (raw) that an embedder must not see, with the words for their kind.

    Every direct identifier, and of the rest (dates, towns, organisations) those of types that readers at large are not `shown`.
    Unknown types count as direct.
    """
    kept = [span for span in spans if span.entity_type not in QUASI or span.entity_type not in shown]
    return {text[start:end]: TYPE_WORDS.get(entity_type, UNNAMED) for start, end, entity_type in _whole_words(text, kept)}


def mask_values(texts: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """`texts` with every whole-word occurrence of a value replaced: for texts put together from parts, where offsets do not hold."""
    joined = "\n".join(texts)
    present = sorted((value for value in values if value in joined), key=len, reverse=True)
    if not present:
        return list(texts)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(value) for value in present)})(?!\w)")
    return [pattern.sub(lambda match: values[match[0]], text) for text in texts]


def guarded(text: str, spans: Sequence[Span]) -> tuple[str, tuple[GuardedText, ...]]:
    """Split `text` (raw) into what anybody's words may match and what matches only for viewers of an entity type.

    The open text has a space in place of each span; guarded texts are in order of appearance. Secrets are in neither: nobody
    may see one, so nobody may search for one.
    """
    pieces: list[str] = []
    kept: list[GuardedText] = []
    at = 0
    for start, end, entity_type in _whole_words(text, spans):
        pieces += (text[at:start], " ")
        if entity_type not in NEVER_SHOWN:
            kept.append(GuardedText(entity_type, text[start:end]))
        at = end
    pieces.append(text[at:])
    return "".join(pieces), tuple(kept)


def _whole_words(text: str, spans: Sequence[Span]) -> Iterator[tuple[int, int, str]]:
    """Ranges of the spans grown to whole words, sorted and disjoint: half a name left over would still be searchable.

    No range grows into a neighbour: the words of one type, a secret least of all, must not be filed under another.
    """
    reached = 0
    ordered = sorted(spans, key=lambda span: (span.start, -span.end))
    borders = [*(span.start for span in ordered), len(text)][1:]
    for span, border in zip(ordered, borders, strict=True):
        start, end = max(span.start, 0), min(span.end, len(text))
        if start >= end:
            continue
        while start > reached and text[start - 1].isalnum() and text[start].isalnum():
            start -= 1
        while end < min(border, len(text)) and text[end].isalnum() and text[end - 1].isalnum():
            end += 1
        start = max(start, reached)
        if start < end:
            yield start, end, span.entity_type
            reached = end
