"""Spelling correction towards words of granted, visible text only: a word that only hidden text holds is neither known nor offered.

The distance is optimal string alignment (Damerau 1964, restricted edits): a swap of neighbours counts once.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from app.domain.search import Visibility
from app.index.lexical import count_chunks, score_words
from app.index.snapshot import Grant
from app.index.words import split_words

_LETTERS = re.compile(r"[^\W\d_]+")
_SUFFIX = re.compile(r"(est|ers?|ness|ing|ed|ly|s|able|less|ful|ment)$")
LONGEST = 48
"""A pattern of near ones for anything longer is refused by a search server (and "Grundstücksverkehrsgenehmigungszuständigkeit" has 44)."""
SHORTEST = 4
"""Shorter words have too many neighbours for a correction to mean anything."""
_ONE_EDIT_UP_TO = 5
_FIRST_LETTER_COST = 0.7
"""Few typing errors hit the first letter."""
MOST_WORDS = 16
"""Unknown words of a text that are looked into, in their order."""


def respell(text: str, grant: Grant, visible: Visibility, dictionary: frozenset[str]) -> str:
    """Replace each word that neither granted text nor `dictionary` knows by the nearest granted word within one or two edits."""
    return corrected(
        text,
        lambda word: _is_known(word, grant, visible, dictionary),
        lambda word: _nearest(word, grant, visible, dictionary),
    )


def corrected(text: str, is_known: Callable[[str], bool], nearest: Callable[[str], str | None]) -> str:
    """Replace words that are not known by what `nearest` offers for them; short words and all but the first few unknown ones stay."""
    tried = 0

    def fix(match: re.Match[str]) -> str:
        nonlocal tried
        word = "".join(split_words(match[0]))
        if tried >= MOST_WORDS or len(word) < SHORTEST or is_known(word):
            return match[0]
        tried += 1
        return nearest(word) or match[0]

    return _LETTERS.sub(fix, text)


def edit_distance(left: str, right: str, most: int) -> int:
    """Count edits between two words; any number above `most` means only that."""
    if abs(len(left) - len(right)) > most:
        return most + 1
    before: list[int] = []
    last = list(range(len(right) + 1))
    for i, letter in enumerate(left, 1):
        row = [i]
        for j, other in enumerate(right, 1):
            cost = min(last[j] + 1, row[-1] + 1, last[j - 1] + (letter != other))
            if before and j > 1 and letter == right[j - 2] and left[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
        before, last = last, row
    return last[-1]


def is_in_dictionary(word: str, dictionary: frozenset[str]) -> bool:
    """Whether a dictionary knows a word, or what it is a suffix form of. One longer than any word of a language is left as it is."""
    if word in dictionary or len(word) > LONGEST:
        return True
    suffix = _SUFFIX.search(word)
    base = word[: suffix.start()] if suffix else ""
    if len(base) < SHORTEST:
        return False
    return base in dictionary or f"{base}e" in dictionary or (base[-1] == base[-2] and base[:-1] in dictionary)


def most_edits(word: str) -> int:
    """How many edits a word may be away from what it is taken for."""
    return 1 if len(word) <= _ONE_EDIT_UP_TO else 2


def is_alike(word: str, other: str) -> bool:
    """Whether two words are near enough in length and letters to be compared: each edit takes or adds at most two distinct letters."""
    most = most_edits(word)
    near = abs(len(other) - len(word)) <= most and len(other) >= SHORTEST
    return near and len(set(word).symmetric_difference(other)) <= 2 * most and other.isalpha()


def best_of(word: str, counted: Iterable[tuple[str, int]], dictionary: frozenset[str]) -> str | None:
    """Pick among near words with the number of chunks that hold each: fewest edits, then most frequent, then first in the alphabet."""
    most = most_edits(word)
    best: tuple[float, int, str] | None = None
    for other, found in counted:
        # A word that stands in one chunk only and in no dictionary may be a slip of the document's author.
        if found > 1 or (found == 1 and other in dictionary):
            candidate = (edit_distance(word, other, most) + _FIRST_LETTER_COST * (other[0] != word[0]), -found, other)
            best = min(best, candidate) if best else candidate
    return best[2] if best else None


def _is_known(word: str, grant: Grant, visible: Visibility, dictionary: frozenset[str]) -> bool:
    return is_in_dictionary(word, dictionary) or bool(score_words(grant, [word], visible).found[word])


def _nearest(word: str, grant: Grant, visible: Visibility, dictionary: frozenset[str]) -> str | None:
    most = most_edits(word)
    near = (other for other in dict.fromkeys(_alike(word, grant)) if edit_distance(word, other, most) <= most)
    return best_of(word, ((other, count_chunks(grant, other, visible)) for other in near), dictionary)


def _alike(word: str, grant: Grant) -> Iterator[str]:
    most, letters = most_edits(word), set(word)
    for part in grant.parts:
        for other in part.segment.words:
            # As `is_alike`, written out: this runs over every word of the index.
            near = abs(len(other) - len(word)) <= most and len(other) >= SHORTEST
            if near and len(letters.symmetric_difference(other)) <= 2 * most and other.isalpha():
                yield other
