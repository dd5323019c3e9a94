"""The shape all pattern recognizers share: a table of rules, run over one segment of text.

A rule must be linear in the length of its input: quantifiers are bounded or possessive, and a segment is short
(`segments.py`), so that hostile text costs time in proportion to its length and no more.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from presidio_analyzer import LocalRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts

from app.privacy.casing import folded_text

TRAILING = " \t\r\n\xa0\u202f,.;:-(["
"""Characters that never end a value: a rule that runs over them is cut back."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to recognize `entity_type`. `group` is the part of the match that is the value; `is_valid` judges that value.

    `needs` is a plain substring (lower case) without which the rule cannot match: a cheap way not to run it at all.
    """

    entity_type: str
    regex: re.Pattern[str]
    score: float
    group: int = 0
    is_valid: Callable[[str], bool] | None = None
    needs: tuple[str, ...] = ()


def count_digits(value: str) -> int:
    """How many decimal digits `value` holds."""
    return sum(character.isdigit() for character in value)


def only_digits(value: str) -> str:
    """`value` without anything that is not an ASCII digit."""
    return "".join(character for character in value if "0" <= character <= "9")


def trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Cut trailing punctuation and surrounding space off a range of `text`."""
    while end > start and text[end - 1] in TRAILING:
        end -= 1
    while start < end and text[start].isspace():
        start += 1
    return start, end


def find(rules: Iterable[Rule], text: str) -> Iterator[tuple[Rule, int, int]]:
    """Every value of every rule in `text`, in rule order, at least two characters long."""
    lowered = text.lower()
    for rule in rules:
        if rule.needs and not any(word in lowered for word in rule.needs):
            continue
        for match in rule.regex.finditer(text):
            start, end = trim(text, *match.span(rule.group))
            if end - start >= 2 and (rule.is_valid is None or rule.is_valid(text[start:end])):
                yield rule, start, end


class RuleRecognizer(LocalRecognizer):
    """A table of rules as a Presidio recognizer for one language of the engine.

    With `reads_caseless` the rules also run on a title-cased copy of lines that have no case of their own.
    """

    def __init__(self, name: str, rules: tuple[Rule, ...], language: str, *, reads_caseless: bool = False) -> None:
        self.rules = rules
        self.reads_caseless = reads_caseless
        super().__init__(supported_entities=sorted({rule.entity_type for rule in rules}), name=name, supported_language=language)

    def load(self) -> None:
        """Nothing to load: the rules are compiled with the module."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None) -> list[RecognizerResult]:
        """Values found in `text`; overlaps are left to the resolver."""
        found = list(find(self.rules, text))
        if self.reads_caseless and (folded := folded_text(text)) is not None:
            found += find(self.rules, folded)
        return [RecognizerResult(rule.entity_type, start, end, rule.score) for rule, start, end in found]
