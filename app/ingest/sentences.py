"""Cuts running text into sentences and other quotable pieces. Knows English, German and French habits; knows nothing of documents.

Every function here is linear in its input: a hostile line of a megabyte without a space costs no more than a page of prose.
"""

import re
from collections.abc import Iterator

Range = tuple[int, int]
"""`start`, `end` in code points, end exclusive."""

MAX_SENTENCE_CHARS = 1200
"""Longer runs are cut between words: an encoder reads about 256 tokens, and a quote longer than this is no quote."""

_CLOSING = '"\u201c\u201d\u2019\u00bb)\\]'
_OPENING = '"\u201c\u201e\u00ab(\\['
_BOUNDARY = re.compile(rf"(?<=[.!?…])(?:[{_CLOSING}]|\s\u00bb)*(\s+)(?=[{_OPENING}]?\s?[A-ZÀ-ÖØ-Þ0-9#$*])")
_ENGLISH = ("e.g", "i.e", "vs", "dr", "mr", "mrs", "ms", "prof", "u.s", "no", "etc", "fig", "vol", "sec", "approx", "dept", "st")
_GERMAN = ("art", "abs", "nr", "bzw", "ca", "ggf", "inkl", "vgl", "str", "tel", "usw", "evtl", "sog", "zzgl", "gem")
_FRENCH = ("mme", "mlle", "mm", "p.ex", "cf", "env", "éd")
_ABBREVIATIONS = frozenset((*_ENGLISH, *_GERMAN, *_FRENCH))
"""Words after which a full stop ends no sentence, lower case, without that stop."""
_NEVER_LAST = frozenset({"etc", "usw", "no"})
"""Abbreviations that do end sentences when the next word starts with a capital letter, except before a digit."""
_WORD_BEFORE = re.compile(r"([^\s(\[\"“„«]+)\.$")
_SPACED_ABBREVIATION = re.compile(r"(?:^|\s)[a-zà-ÿ]\.\s?[A-Za-zÀ-ÿ]\.$|(?:^|[\s(])[a-zà-ÿ]\.$|(?:^|\s)p\.\s?ex\.$")
_ORDINAL = re.compile(r"(?:^|[\s(])\d{1,2}\.$")
_AFTER_ORDINAL = re.compile(
    r"(?:Januar|Jänner|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember|Quartal|Abschnitt|Absatz|Kapitel|"
    r"Lebensjahr|Lebensmonat|Lebenswoche|Tag|Woche|Monat|Jahr|Stock|Auflage|Halbjahr|Jahrhundert)\b"
)
_LOOK_BACK = 24
"""Characters before a boundary that are looked at: longer than any abbreviation, short enough to keep the scan linear."""


def sentence_ranges(text: str) -> list[Range]:
    """Ranges of the sentences of one paragraph, in order, without the white space between them.

    A sentence ends at `.`, `!` or `?` before white space and a capital, a digit or an opening mark, unless the stop belongs
    to an abbreviation (`e.g.`, `z. B.`, `p. ex.`, `Art.`) or to a German ordinal (`am 1. Januar`). Over-long ones are cut.
    """
    found: list[Range] = []
    start = 0
    for match in _BOUNDARY.finditer(text):
        if _ends_sentence(text, match):
            found += cut_long(text, start, match.start(1))
            start = match.end(1)
    found += cut_long(text, start, len(text))
    return found


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    """Whether a possible boundary is one: no abbreviation and no ordinal stands before it."""
    before = text[max(0, match.start() - _LOOK_BACK) : match.start()]
    if not before.endswith("."):
        return True
    word = _WORD_BEFORE.search(before)
    plain = word[1].lower() if word else ""
    if plain in _ABBREVIATIONS:
        return plain in _NEVER_LAST and not text[match.end()].isdigit()
    if _SPACED_ABBREVIATION.search(before):
        return False
    return not (_ORDINAL.search(before) and _AFTER_ORDINAL.match(text, match.end()))


def cut_long(text: str, start: int, end: int, limit: int = MAX_SENTENCE_CHARS) -> Iterator[Range]:
    """`start:end` trimmed and cut into ranges of at most `limit` characters, between words where there are any."""
    while start < end:
        while start < end and text[start].isspace():
            start += 1
        stop = min(start + limit, end)
        if stop < end and not text[stop].isspace():
            space = max(text.rfind(" ", start, stop), text.rfind("\n", start, stop))
            stop = space if space > start else stop
        last = stop
        while last > start and text[last - 1].isspace():
            last -= 1
        if last > start:
            yield start, last
        start = stop


def last_sentence(text: str, words: int) -> str:
    """The last `words` words of the last sentence of `text`: what a list item hangs on."""
    tail = text[-MAX_SENTENCE_CHARS:]
    ranges = sentence_ranges(tail)
    return " ".join(tail[slice(*ranges[-1])].split()[-words:]) if ranges else ""
