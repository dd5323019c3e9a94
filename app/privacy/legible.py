"""The text as a reader sees it: what no eye can tell apart must not be told apart by a rule either.

Invisible characters are left out, digits and letters in disguise (full width, mathematical, Arabic-Indic) and odd blanks are
written plainly. Analysis reads this copy; offsets lead back to the text as given.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.privacy import Span

INVISIBLE = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u206a-\u206f\ufe00-\ufe0f\ufeff]"
)
SURROGATE = "\ufffd"
"""Half a character, from a broken decoder: no model takes it, and one must not stop an ingest."""


class _Plain(dict[int, str]):
    """Code point to its plain form of the same length, filled as characters are met."""

    def __missing__(self, code: int) -> str:
        plain = self[code] = _plain(chr(code))
        return plain


def _plain(character: str) -> str:
    if "\ud800" <= character <= "\udfff":
        return SURROGATE
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.digit(character))
    if category == "Zs":
        return " "
    if "\uff01" <= character <= "\uff5e" or "\U0001d400" <= character <= "\U0001d7ff":
        folded = unicodedata.normalize("NFKC", character)
        return folded if len(folded) == 1 else character
    return character


_PLAIN = _Plain()


@dataclass(frozen=True, slots=True)
class Legible:
    """`text` is to be analysed; `offsets[i]` is where its i-th character stands in the original, `None` when all stand where they did."""

    text: str
    offsets: tuple[int, ...] | None

    def restore(self, spans: Sequence[Span]) -> tuple[Span, ...]:
        """Spans of the copy as spans of the original; what is invisible inside a span belongs to it."""
        if self.offsets is None:
            return tuple(spans)
        return tuple(replace(span, start=self.offsets[span.start], end=self.offsets[span.end - 1] + 1) for span in spans)


def make_legible(text: str) -> Legible:
    """The legible copy of `text`; the text itself when it is plain already."""
    if text.isascii():
        return Legible(text, None)
    plain = text.translate(_PLAIN)
    if INVISIBLE.search(plain) is None:
        return Legible(plain, None)
    kept = [i for i, character in enumerate(plain) if INVISIBLE.match(character) is None]
    return Legible("".join(plain[i] for i in kept), tuple(kept))
