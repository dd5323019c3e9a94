"""Values under a telling header: CSV, tab-separated and markdown tables, where the label stands rows above the value.

Works line by line on runs of lines with the same separator; a header cell that names a kind of personal data types its column.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from presidio_analyzer import LocalRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts

from app.privacy.recognizers.identifiers import KIND, LABELS, WHO
from app.privacy.recognizers.rules import count_digits

SEPARATORS = "|\t;,"
MAX_COLUMNS = 60
RULE_LINE = re.compile(r"[\s|:+\-]+")
NAME_LABEL = (
    r"(?:(?:full|first|last|given|family|sur|middle|customer|client|employee|contact|patient|user|member|display|account[ ]holder"
    r"|cardholder)?[ _]?name|surname|"
    r"employee|patient|customer|client|manager|contact|(?:vor|nach)?name|mitarbeiter(?:in)?|kunde|kundin|ansprechpartner(?:in)?|(?:pr[ée]"
    r")?nom|nombre|apellidos?|cognome)"
)
HEADERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("PERSON", re.compile(NAME_LABEL, re.IGNORECASE)),
    (
        "PHONE_NUMBER",
        re.compile(
            r"(?:phone|tel(?:efon|ephone|éphone|éfono)?|mobile|mobil|cell|fax|handy)(?:[ _]?(?:no\.?|number|nr\.?|nummer))?", re.IGNORECASE
        ),
    ),
    (
        "DATE_OF_BIRTH",
        re.compile(
            r"(?:date[ _]of[ _]birth|birth[ _]?da(?:te|y)|dob|geburtsdatum|geboren|date[ _]de[ _]naissance|fecha[ _]de[ _]nacimiento)",
            re.IGNORECASE,
        ),
    ),
    (
        "BANK_ACCOUNT",
        re.compile(
            r"(?:(?:bank[ _])?account(?:[ _](?:no\.?|number))?|konto(?:nummer|nr\.?)?|routing[ _]number|sort[ _]code)", re.IGNORECASE
        ),
    ),
    ("CREDIT_CARD", re.compile(r"(?:(?:credit[ _])?card(?:[ _](?:no\.?|number))?|kreditkarte|pan)", re.IGNORECASE)),
    ("SECRET", re.compile(r"(?:pass(?:word|wd|phrase)?|pwd|passwort|kennwort|secret|token|api[ _]?key|pin|cvv)", re.IGNORECASE)),
    (
        "ADDRESS",
        re.compile(r"(?:(?:home|street|postal|mailing)?[ _]?address|adresse|anschrift|direcci[óo]n|stra(?:ß|ss)e|street)", re.IGNORECASE),
    ),
    ("ID_NUMBER", re.compile(rf"(?:{WHO}[ _\-]?{KIND}\.?|{LABELS}(?:[ ]?{KIND}\.?)?)", re.IGNORECASE)),
)
SCORE = 0.75


@dataclass(frozen=True, slots=True)
class Cell:
    """A trimmed cell: its range in the text and its value."""

    start: int
    end: int
    value: str


class TableRecognizer(LocalRecognizer):
    """Types the cells of a column by its header."""

    def __init__(self, language: str) -> None:
        super().__init__(supported_entities=sorted({kind for kind, _ in HEADERS}), name="tables", supported_language=language)

    def load(self) -> None:
        """Nothing to load."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None) -> list[RecognizerResult]:
        """Cells under a telling header."""
        return [RecognizerResult(kind, cell.start, cell.end, SCORE) for kind, cell in _typed_cells(text)]


def _typed_cells(text: str) -> Iterator[tuple[str, Cell]]:
    columns: dict[int, str] = {}
    width = 0
    separator = ""
    at = 0
    for line in text.split("\n"):
        start, at = at, at + len(line) + 1
        if separator and line.count(separator) == width:
            if not RULE_LINE.fullmatch(line):
                yield from _row(start, line, separator, columns)
            continue
        separator, columns = _header(start, line)
        width = line.count(separator) if separator else 0


def _header(start: int, line: str) -> tuple[str, dict[int, str]]:
    """The separator and the telling columns of a header line; empty when it is none."""
    for separator in SEPARATORS:
        if 0 < line.count(separator) < MAX_COLUMNS:
            columns = {i: kind for i, cell in enumerate(_cells(start, line, separator)) if (kind := _kind(cell.value))}
            return (separator, columns) if columns else ("", {})
    return "", {}


def _kind(label: str) -> str | None:
    return next((kind for kind, pattern in HEADERS if pattern.fullmatch(label)), None)


def _cells(start: int, line: str, separator: str) -> Iterator[Cell]:
    at = start
    for part in line.split(separator):
        value = part.strip(' \t\r"*')
        low = at + (part.index(value) if value else 0)
        yield Cell(low, low + len(value), value)
        at += len(part) + 1


def _row(start: int, line: str, separator: str, columns: dict[int, str]) -> Iterator[tuple[str, Cell]]:
    for i, cell in enumerate(_cells(start, line, separator)):
        kind = columns.get(i)
        if kind and _fits(kind, cell.value):
            yield kind, cell


def _fits(kind: str, value: str) -> bool:
    """Whether a cell can be what its header says: a table of settings has a column "name" as well."""
    if not 1 < len(value) <= 120 or _kind(value):
        return False
    if kind == "PERSON":
        words = value.replace(",", " ").split()
        return (
            1 <= len(words) <= 5
            and not any(c.isdigit() or c in "_/\\@=<>(){}[]:$" for c in value)
            and all(word[0].isalpha() for word in words)
            and (len(words) > 1 and value[0].isupper())
        )
    if kind == "SECRET":
        return " " not in value and len(value) > 3
    if kind == "ADDRESS":
        return count_digits(value) > 0 and any(c.isalpha() for c in value)
    return count_digits(value) >= 4
