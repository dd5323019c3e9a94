"""Lines without case ("anna müller, 12 rue de la paix", "ANNA MÜLLER"): a title-cased copy of the same length, so that offsets hold.

Recognizers and the model need capitals to see a name or a street; chats and forms do not have them.
"""

import re
from collections.abc import Iterator

LINE = re.compile(r"[^\n]+")
WORD = re.compile(r"[^\W\d_][\w']*")
MAX_WORDS = 80
UPPER_SHARE = 0.6
SMALL = frozenset(
    [
        "a",
        "an",
        "and",
        "as",
        "at",
        "by",
        "de",
        "der",
        "die",
        "das",
        "den",
        "des",
        "di",
        "du",
        "el",
        "en",
        "et",
        "for",
        "from",
        "in",
        "is",
        "it",
        "la",
        "le",
        "les",
        "mit",
        "my",
        "no",
        "of",
        "on",
        "or",
        "the",
        "to",
        "und",
        "van",
        "von",
        "with",
        "y",
    ]
)


def folded_lines(text: str) -> Iterator[tuple[int, str]]:
    """Offset and title-cased copy of each line of `text` that has no case of its own."""
    for match in LINE.finditer(text):
        line = match.group()
        words = WORD.findall(line)
        if not 1 < len(words) < MAX_WORDS:
            continue
        capitals = sum(word[0].isupper() and word != "I" for word in words[1:])
        shouted = sum(word.isupper() and len(word) > 2 for word in words)
        if capitals and shouted < UPPER_SHARE * len(words):
            continue
        folded = WORD.sub(_titled, line)
        if len(folded) == len(line):
            yield match.start(), folded


def folded_text(text: str) -> str | None:
    """`text` with those lines replaced, or nothing when there are none."""
    lines = list(folded_lines(text))
    if not lines:
        return None
    pieces: list[str] = []
    at = 0
    for start, line in lines:
        pieces += (text[at:start], line)
        at = start + len(line)
    pieces.append(text[at:])
    return "".join(pieces)


def _titled(match: re.Match[str]) -> str:
    word = match.group()
    return word.lower() if word.lower() in SMALL else word[0].upper() + word[1:].lower()
