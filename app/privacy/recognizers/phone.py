"""Telephone numbers: shapes that are phone numbers by themselves, numbers after a word such as "tel", and national forms.

A national form (no plus sign) counts only when the numbering plan of some region says it is valid (phonenumbers, Google's
libphonenumber metadata); plans are asked for grouped numbers and numbers with a trunk zero only, because ten bare digits
are an order number more often than a telephone.
"""

import re

import phonenumbers
from presidio_analyzer import LocalRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts

from app.privacy.recognizers.rules import Rule, count_digits, find, only_digits, trim

GAP = r"[ .\-/\u00a0\u2011\u2013\u202f\u2009]"
EXTENSION = r"(?:,?[ ]?(?:x|ext\.?|extension|durchwahl|dw|poste)[ ]?\d{1,5})?"
WORDS = (
    r"(?:tel(?:efon(?:nummer)?|[eé]fono|[eé]phone|\.)?|phone(?:[ ](?:no\.?|number|nr\.?))?|mobile(?:[ ](?:no\.?|number))?|cell(?:phone)?"
    r"|mob|fax|"
    r"desk|call(?:[ ]me)?(?:[ ](?:on|at))?|ring(?:[ ]me)?(?:[ ](?:on|at))?|reach(?:[ ](?:me|him|her|us))?(?:[ ](?:on|at))?|text|sms"
    r"|whatsapp|signal|"
    r"handy|mobil|mobilnummer|festnetz|rückruf|appel\w{0,4}|portable|t[ée]l[ée]copie|llam\w{0,4}|m[óo]vil|rufnummer|hotline|messages[ ]"
    r"to|answering[ ]at|"
    r"dial|contact[ ](?:no\.?|number)|cellulare|telefoon|gsm)"
)
AFTER = r"(?:office|mobile|fax|home|cell|work|direct|mobil|privat|dienstlich|b[üu]ro|portable|bureau)"


def _has_phone_length(value: str) -> bool:
    return 6 <= count_digits(value) <= 15 and not re.fullmatch(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}", value) and not _is_decimal(value)


def _is_decimal(value: str) -> bool:
    return re.fullmatch(r"\d{1,3}(?:\.\d{3})+|\d+\.\d{1,2}", value) is not None


SHAPES = (
    Rule(
        "PHONE_NUMBER",
        re.compile(
            rf"(?<![\w.])(?:\+|00[ ]?)\d{{1,3}}{GAP}?(?:\(0?\d{{0,4}}\){GAP}?)?\d(?:{GAP}{{0,2}}\d){{5,12}}{EXTENSION}(?!\w)", re.IGNORECASE
        ),
        0.75,
        is_valid=lambda value: 8 <= count_digits(value) <= 20,
    ),
    Rule(
        "PHONE_NUMBER",
        re.compile(rf"(?<![\w.])\(\d{{2,5}}\){GAP}?\d{{2,4}}(?:{GAP}?\d{{2,4}}){{1,3}}{EXTENSION}(?!\w)", re.IGNORECASE),
        0.7,
    ),
    Rule("PHONE_NUMBER", re.compile(rf"(?<![\w.])\(0\)[ ]?\d{{2,4}}(?:{GAP}?\d{{2,8}}){{1,4}}(?!\w)"), 0.75),
    Rule(
        "PHONE_NUMBER",
        re.compile(rf"(?<![\w.+/\-])(?:1[ .\-])?\d{{3}}[ .\-]\d{{3}}[ .\-]\d{{4}}{EXTENSION}(?![\w\-])", re.IGNORECASE),
        0.65,
    ),
    Rule("PHONE_NUMBER", re.compile(r"(?<![\w.+/\-])555-\d{4}(?![\w\-])"), 0.6, needs=("555-",)),
    Rule(
        "PHONE_NUMBER",
        re.compile(rf"(?<![\w.+/\-])0\d{{1,4}}[ ./\-\u00a0\u202f]\d{{2,4}}(?:{GAP}?\d{{2,4}}){{1,4}}{EXTENSION}(?!\w)", re.IGNORECASE),
        0.6,
        is_valid=lambda value: 9 <= len(only_digits(value)) <= 12 and not re.search(r"\d\.\d{2}\.\d{4}|\d:\d", value),
    ),
    Rule("PHONE_NUMBER", re.compile(r"(?<![\w.+/\-,])0\d{2,4}/\d{5,9}(?:-\d{1,4})?(?!\w)"), 0.65, needs=("/",)),
)
IN_CONTEXT = (
    Rule(
        "PHONE_NUMBER",
        re.compile(
            rf"\b{WORDS}\b[^\d\n+(]{{0,16}}\n?[ ]{{0,4}}(\+?\(?\d[\d ()./\-\u00a0\u202f]{{4,18}}\d{EXTENSION})(?!\w)", re.IGNORECASE
        ),
        0.8,
        group=1,
        is_valid=_has_phone_length,
    ),
    Rule(
        "PHONE_NUMBER",
        re.compile(rf"(?<![\w.])(\+?\(?\d[\d ()./\-\u00a0\u202f]{{4,18}}\d)(?=[ ]{{1,3}}\(?{AFTER}\b)", re.IGNORECASE),
        0.75,
        group=1,
        is_valid=_has_phone_length,
    ),
)
CANDIDATE = re.compile(rf"(?<![\w.+/\-,])\(?\d{{1,5}}\)?(?:{GAP}{{1,2}}\(?\d{{1,8}}\)?){{1,6}}{EXTENSION}(?![\w/]|[.,:]\d)", re.IGNORECASE)
TRUNK_REGIONS = ("GB", "DE", "FR", "CH", "AT", "IT", "NL", "BE", "SE", "IE", "FI", "AU", "IN")
PLAIN_REGIONS = ("US", "ES", "PL", "PT", "DK", "NO", "CZ", "HU")


def _is_national(digits: str) -> bool:
    """Whether some numbering plan knows `digits` as a number dialled inside the country."""
    for region in TRUNK_REGIONS if digits.startswith("0") else PLAIN_REGIONS:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(digits, region)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False


def _looks_grouped(value: str) -> bool:
    """A trunk zero, or groups of two to four digits throughout, and not a date or a decimal."""
    digits = only_digits(re.split(r"[a-z]", value, maxsplit=1, flags=re.IGNORECASE)[0])
    if not 8 <= len(digits) <= 13 or _is_decimal(value) or re.search(r"(?:19|20)\d\d[./-]\d|\d[./-](?:19|20)\d\d\b", value):
        return False
    return digits.startswith("0") or all(2 <= len(group) <= 4 for group in re.findall(r"\d+", value))


class PhoneRecognizer(LocalRecognizer):
    """Shapes and contexts first, numbering plans for what is left."""

    def __init__(self, language: str) -> None:
        super().__init__(supported_entities=["PHONE_NUMBER"], name="phone", supported_language=language)

    def load(self) -> None:
        """Nothing to load: the metadata comes with the library."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None) -> list[RecognizerResult]:
        """Numbers found in `text`; overlaps are left to the resolver."""
        found = [RecognizerResult(rule.entity_type, start, end, rule.score) for rule, start, end in find((*SHAPES, *IN_CONTEXT), text)]
        for match in CANDIDATE.finditer(text):
            start, end = trim(text, *match.span())
            value = text[start:end]
            if _looks_grouped(value) and _is_national(only_digits(re.split(r"[a-z]", value, maxsplit=1, flags=re.IGNORECASE)[0])):
                found.append(RecognizerResult("PHONE_NUMBER", start, end, 0.5))
        return found
