"""Words of a text with their case, as the name recognizers look at them."""

import re
from dataclasses import dataclass

WORD = re.compile(r"[^\W\d_][\w'\u2019\-\u00ad\u200b-\u200d\u2060]*+")
INVISIBLE = dict.fromkeys([0xAD, 0x200B, 0x200C, 0x200D, 0x2060])
NEAR = frozenset({" ", "  ", "\u00a0", ". ", ".", "\n", " \n", "- ", "\u202f"})


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the text: its range, and its lower-case form without invisible characters and possessive."""

    start: int
    end: int
    lower: str
    is_capital: bool
    is_upper: bool


def words_of(text: str) -> list[Word]:
    """Words of `text` in order; a possessive `'s` stays outside the word's range."""
    found = []
    for match in WORD.finditer(text):
        raw = match.group()
        end = match.end()
        if raw.endswith(("'s", "\u2019s")):
            raw, end = raw[:-2], end - 2
        raw = raw.rstrip("-'\u2019")
        end = match.start() + len(raw)
        lower = raw.translate(INVISIBLE).lower() if not raw.isascii() else raw.lower()
        found.append(Word(match.start(), end, lower, raw[:1].isupper(), len(raw) > 1 and raw.isupper()))
    return found


def are_near(text: str, left: Word, right: Word) -> bool:
    """Whether nothing but a blank, a line break or an initial's dot lies between two words."""
    return text[left.end : right.start] in NEAR


def opens_sentence(text: str, word: Word) -> bool:
    """Whether `word` has its capital from the start of a sentence, a line or a quotation."""
    before = text[max(0, word.start - 3) : word.start].rstrip(" \"'“„(")
    return not before or before[-1] in ".!?\n:"
