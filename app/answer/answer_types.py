"""What kind of thing a question asks for (a duration, a number, money, a date, a person) and whether a sentence holds one.

Tables of patterns in English, German and French; general words of the language only, none taken from a corpus.
"""

import re
from dataclasses import dataclass
from enum import IntEnum

_NUMBER_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty sixty ninety hundred half third "
    "quarter twice once daily weekly monthly quarterly annually yearly "
    "ein eine einem zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig dreißig hundert halb drittel viertel täglich "
    "wöchentlich monatlich jährlich un une deux trois quatre cinq sept huit neuf dix onze douze vingt trente cent moitié tiers quart"
)
_MONTHS = r"(?:jan|feb|fév|mar|mär|apr|avr|may|mai|june?|juin|juni|july?|juil|juli|aug|août|sept?|o[ck]t|nov|de[cz]|déc)[a-zéû]*"
_NUMBER = rf"\d|\b(?:{'|'.join(_NUMBER_WORDS.split())})\b"
_PERIOD = (
    r"\b(?:(?:minute|hour|day|week|month|year|quarter|sprint|heure|jour|semaine|année|trimestre)s?|mois|ans?"
    r"|(?:minute|stunde|woche)n?|tage?n?|monate?n?|jahre?n?"
    r"|daily|weekly|monthly|quarterly|annually|yearly|once|twice|immediately|sofort|unverzüglich|immédiatement)\b"
)


class Match(IntEnum):
    """Whether a sentence holds a thing of the kind asked for."""

    ABSENT = -1
    NOTHING_ASKED = 0
    PRESENT = 1


@dataclass(frozen=True, slots=True)
class _Kind:
    """`asked` recognizes the question; a sentence that answers it matches every pattern of `held`."""

    asked: re.Pattern[str]
    held: tuple[re.Pattern[str], ...]


def _kind(asked: str, *held: str, flags: re.RegexFlag = re.IGNORECASE) -> _Kind:
    return _Kind(re.compile(asked, re.IGNORECASE), tuple(re.compile(pattern, flags) for pattern in held))


_KINDS = (
    _kind(
        r"how (?:long|soon|far (?:ahead|in advance)|often|early|late|quickly|fast)"
        r"|how many (?:business |calendar |working )?(?:minutes?|hours?|days?|weeks?|months?|years?)|how much (?:time|notice)"
        r"|after how|duration|in advance|turnaround|time limit"
        r"|wie (?:lange|oft|schnell|früh|spät)|wie viele? (?:minuten|stunden|tage|wochen|monate|jahre)|\bfrist\b|im voraus"
        r"|combien de (?:temps|fois|minutes|heures|jours|semaines|mois|ans)|à quelle fréquence|délai|à l'avance",
        _NUMBER,
        _PERIOD,
    ),
    _kind(
        r"how (?:many|much|old|big|large)|number|percent|\bshare of|proportion|\blimit|maximum|minimum|\bmax\b|\bcap\b|ceiling|threshold"
        r"|\brate\b|amount|\bmost\b|\bleast\b|wie (?:viele?|hoch|groß|alt)|anzahl|prozent|anteil|höchst|mindest|betrag|grenze"
        r"|combien|nombre|pourcent|plafond|seuil|taux|montant",
        _NUMBER,
    ),
    _kind(
        r"\bcosts?\b|price|dollar|\bpay\b|\bfee\b|amount|budget|reimburs|bonus|percent|\bshare of|proportion"
        r"|\bkoste[tn]?\b|preis|\beuro|gebühr|betrag|erstatt|prozent|\bcoûte|\bprix\b|\bfrais\b|montant|rembours|pourcent",
        r"[$€£%]|\bper ?cent|\bdollars?\b|\beuros?\b|\beur\b|\bhalf\b|prozent|pour ?cent|hälfte|moitié",
        r"\d|half|hälfte|moitié",
    ),
    _kind(
        r"\bwhen\b|what (?:time|date|day|month|year)|deadline|\bdue\b|\bdate\b|which (?:day|month)|\bwann\b|datum|\bquand\b"
        r"|quelle (?:date|heure)|quel (?:jour|mois)|échéance|stichtag",
        rf"\b{_MONTHS}\.?\s+\d|\d\.?\s+{_MONTHS}|\d{{4}}|\d\s*[:hap]\.?m?|\b(?:mon|tues|wednes|thurs|fri)day"
        r"|\b(?:montag|dienstag|mittwoch|donnerstag|freitag)|\b(?:lundi|mardi|mercredi|jeudi|vendredi)",
    ),
    _kind(
        r"\bwho\b|\bwhom\b|\bwhose\b|(?:which|what) (?:person|team|office|group|role)|\bleads?\b|\bwer\b|\bwem\b|\bwen\b|an wen"
        r"|welche (?:person|abteilung|stelle)|\bqui\b|quelle (?:personne|équipe)|quel service",
        r"[\w.-]+@[\w.-]+|\b(?:supervisor|director|manager|leads?|team|office|officer|head|administrator|HR)\b"
        r"|\b(?:Leiter|Leiterin|Leitung|Abteilung|Vorgesetzte[rn]?|Stelle|directeur|directrice|responsable|équipe|service)\b"
        r"|\b[A-ZÄÖÜÉ][a-zäöüßéèç]+ [A-ZÄÖÜÉ][a-zäöüßéèç]+\b",
        flags=re.NOFLAG,
    ),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The kinds of thing one question asks for. Recognized once a question, for it is matched against a hundred sentences."""

    wanted: tuple[tuple[re.Pattern[str], ...], ...]

    def match(self, text: str) -> Match:
        """Tell whether `text` holds a thing of a kind asked for; any one of several kinds is enough."""
        if not self.wanted:
            return Match.NOTHING_ASKED
        return Match.PRESENT if any(all(pattern.search(text) for pattern in held) for held in self.wanted) else Match.ABSENT


def asked_by(question: str) -> Asked:
    """Recognize what a question asks for."""
    return Asked(tuple(kind.held for kind in _KINDS if kind.asked.search(question)))
