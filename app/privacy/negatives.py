"""Places where a number or a capitalised word is certainly not about a person: hashes, versions, invoice and part numbers, code.

A found value of a weak type that lies wholly inside such a place is dropped. Strong types (mail, secrets, accounts) never are.
"""

import re
from collections.abc import Sequence

WEAK = frozenset(
    {
        "ID_NUMBER",
        "PHONE_NUMBER",
        "DATE_TIME",
        "PERSON",
        "LOCATION",
        "ORGANIZATION",
        "AGE",
        "IP_ADDRESS",
        "BANK_ACCOUNT",
        "ADDRESS",
        "NRP",
        "TITLE",
        "URL",
        "CRYPTO",
    }
)
DOTTED = r"\d{1,5}(?:[.\-]\d{1,5}){1,5}"
HASHES = (
    r"(?<![0-9a-f])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9a-f])"
    r"|(?<![0-9a-z])[0-9a-f]{32,128}(?![0-9a-z])"
    r"|\b(?:commit|sha|rev(?:ision)?|hash|digest|checksum)[ :=]{1,3}[0-9a-f]{7,128}\b"
)
REFERENCES = (
    r"\bCVE-\d{4}-\d{1,7}\b|\bISBN(?:-1[03])?[ :\-]{0,3}[\dX\-]{10,17}"
    r"|(?-i:\b(?:INV|PO|SKU|REF|JIRA|RFC|ISO|IEC|DIN|EN|NF|ASTM|IEEE|ANSI|BS|RMA|SO|WO|CR|PR|MR|ADR|EPIC|BUG|TASK|STORY)"
    r"[\- ]\d[\d\-/:.A-Z]{0,30})"
    r"|(?-i:\b[A-Z][A-Z0-9]{1,9}-\d{1,7}\b)(?![\-\d])"
)
NUMBERED = (
    rf"\b(?:section|sections|table|figure|fig\.|chapter|clause|appendix|annex|step|rule|§|art(?:icle|ikel|\.)?|abschnitt|kapitel"
    rf"|tabelle|abbildung|v(?:ersion)?|release|build|rev)[ ]?[A-Z]?\.?[ ]?(?:{DOTTED}|\d{{1,8}})"
)
LABELLED = (
    r"\b(?:part|serial|order|item|article|artikel|teile|batch|lot|model|typ(?:e)?|drawing|stock|catalog(?:ue)?|tracking|shipment"
    r"|invoice|rechnung|rechnungs|bestell|auftrags?|commande|facture|pedido|factura|ticket|job|run|process|port|row|page"
    r"|node|rack|cost[ ]cent(?:re|er)|kostenstelle)"
    r"(?:s|nummer|[ \-]?(?:no|nr|number|num|id|code|n°))?\b\.?[ ]{0,2}[:#]?[ ]{0,2}(?:is[ ])?(?:n°[ ])?(?=[A-Z0-9./\-]{0,30}\d)"
    r"[A-Z0-9][A-Z0-9./\-_]{0,40}"
)
QUANTITIES = (
    r"\b(?:EUR|USD|GBP|CHF|PLN|SEK|NOK|DKK|JPY|INR|CAD|AUD|€|\$|£)[ ]?\d[\d.,' ]{0,20}\d?"
    r"|\d[\d.,' ]{0,20}[ ]?(?:EUR|USD|GBP|CHF|PLN|SEK|NOK|DKK|JPY|€|%|kg|km|cm|mm|GB|MB|TB|KB|ms|kWh|kW|MW|GHz|MHz|Hz|rpm|px|bps|Mbps|°C)"
    r"(?![A-Za-z])|\b\d{2}:\d{2}:\d{2}(?:[.,]\d{1,6})?\b"
)
CODE = (
    r"(?<![\w])(?:\.{0,2}/)[\w.\-]{1,60}(?:/[\w.\-]{1,60}){1,12}"
    r"|(?-i:\b[a-z]{1,40}(?:_[a-z0-9]{1,40}){1,8}\b|\b[a-z]{2,30}(?:[A-Z][a-z0-9]{1,30}){1,6}\b)"
)
PATTERN = re.compile(f"{HASHES}|{REFERENCES}|{NUMBERED}|{LABELLED}|{QUANTITIES}|{CODE}", re.IGNORECASE)


def find_negatives(text: str) -> list[tuple[int, int]]:
    """Ranges of `text` in order where weak types do not count."""
    return [match.span() for match in PATTERN.finditer(text)]


def is_inside(start: int, end: int, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether `start:end` lies wholly in one of the sorted `ranges`."""
    return any(low <= start and end <= high for low, high in ranges)
