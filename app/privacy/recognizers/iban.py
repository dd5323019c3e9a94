"""International bank account numbers, also spaced, hyphenated, in lower case, broken over a line or glued to the next word.

The country says the length, so a number ends where it must, whatever follows it; the check digits are ISO 13616's.
"""

import re

from presidio_analyzer import LocalRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts

from app.privacy.recognizers.checksums import is_iban

LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27,
    "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27,
    "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28,
    "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""Characters of an IBAN by country (SWIFT IBAN registry)."""
START = re.compile(rf"(?<![^\W_])(?:{'|'.join(LENGTHS)})[ \-\u00a0\u202f]?\d[ ]?\d(?=[ \-\u00a0\u202f\n]{{0,3}}[A-Z0-9])", re.IGNORECASE)
GAPS = frozenset(" -\u00a0\u202f\n.")
MAX_GAP = 3


class IbanRecognizer(LocalRecognizer):
    """Reads on from country and check digits to the length of that country."""

    def __init__(self, language: str) -> None:
        super().__init__(supported_entities=["IBAN_CODE"], name="iban", supported_language=language)

    def load(self) -> None:
        """Nothing to load."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None) -> list[RecognizerResult]:
        """Account numbers whose check digits hold."""
        found = []
        for match in START.finditer(text):
            end = _reach(text, match.start(), LENGTHS[text[match.start() : match.start() + 2].upper()])
            if end and is_iban(text[match.start() : end]):
                found.append(RecognizerResult("IBAN_CODE", match.start(), end, 0.98))
        return found


def _reach(text: str, start: int, length: int) -> int | None:
    """Offset after `length` ASCII letters and digits from `start`, with short gaps between; nothing when the text ends first."""
    taken = gap = 0
    for i in range(start, min(len(text), start + length * (MAX_GAP + 1))):
        character = text[i]
        if character.isascii() and character.isalnum():
            taken, gap = taken + 1, 0
            if taken == length:
                return i + 1
        elif character in GAPS and gap < MAX_GAP:
            gap += 1
        else:
            return None
    return None
