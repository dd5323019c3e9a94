"""A name found once is hidden everywhere in its document: the surname alone further down, or first name in a later line."""

from collections.abc import Iterator, Sequence

from app.domain.privacy import Span
from app.privacy.lexicon import PARTICLES, Lexicon
from app.privacy.recognizers.words import words_of

MIN_LETTERS = 3
MIN_SCORE = 0.6
PROPAGATED = "propagation"


def propagate(text: str, spans: Sequence[Span], lexicon: Lexicon) -> Iterator[Span]:
    """Further places in `text` where a word of a found person stands with a capital, apart from those in `spans`.

    Ordinary and technical words are not carried on: after "Rose Long", a long rose stays readable.
    """
    words = words_of(text)
    people = [
        span
        for span in spans
        if span.entity_type == "PERSON" and span.score >= MIN_SCORE and _is_sound(text[span.start : span.end], span, lexicon)
    ]
    carried: set[str] = set()
    i = 0
    for person in people:
        while i < len(words) and words[i].start < person.start:
            i += 1
        while i < len(words) and words[i].end <= person.end:
            if _is_telling(words[i].lower, lexicon) and (words[i].is_capital or lexicon.is_sure_name(words[i].lower)):
                carried.add(words[i].lower)
            i += 1
    for word in words:
        if word.lower in carried and (word.is_capital or lexicon.is_sure_name(word.lower)):
            yield Span(word.start, word.end, "PERSON", MIN_SCORE, PROPAGATED)


def _is_sound(value: str, span: Span, lexicon: Lexicon) -> bool:
    """Found by a pattern, of several words, or a listed name: a single unknown word the model took for a name is not carried on."""
    return span.recognizer != "ner" or " " in value.strip() or lexicon.is_name(value.lower())


def _is_telling(word: str, lexicon: Lexicon) -> bool:
    return len(word) >= MIN_LETTERS and word not in PARTICLES and not lexicon.is_plain(word)
