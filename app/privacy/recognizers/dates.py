"""Dates, dates of birth, ages and forms of address. Durations and relative dates are not personal data and are not stored."""

import re

from app.privacy.recognizers.rules import Rule

MONTHS = (
    r"(?:jan(?:uary|uar|vier|\.)?|feb(?:ruary|ruar|\.)?|f[ée]vr(?:ier|\.)?|m[aä]r(?:ch|z|s|zo|\.)?|mar[çc]o|apr(?:il|ile|\.)?|avr(?:il"
    r"|\.)?|abril|ma[iyj]|maggio|mayo|maio|jun[ie]?|juin|junio|giugno|"
    r"jul[iy]?|juil(?:let|\.)?|julio|luglio|aug(?:ust|\.)?|ao[uû]t|agosto|sep(?:tember|t|tembre|\.)?|septiembre|settembre|o[ck]t(?:ober"
    r"|obre|\.)?|octubre|ottobre|nov(?:ember|embre|iembre|\.)?|"
    r"de[cz](?:ember|embre|iembre|\.)?|d[ée]c(?:embre|\.)?|diciembre|dicembre|enero|gennaio|febrero|febbraio|marzo|styczeń|maart|mei"
    r"|augustus|januari|februari|juni|juli)"
)
DAY = r"\d{1,2}(?:\.|st|nd|rd|th|er|º)?"
YEAR = r"(?:(?:19|20)\d{2}|['\u2019]?\d{2}(?!\d|[.,:]\d))"


def _is_calendar(value: str) -> bool:
    """Day, month and year stand in a possible order."""
    parts = [int(part) for part in re.split(r"[./\-]", value)]
    day_month = parts[1:] if parts[0] > 31 else parts[:2]
    return all(1 <= part <= 31 for part in day_month) and min(day_month) <= 12


NUMERIC = r"(?:\d{1,2}[./\-]\d{1,2}[./\-](?:19|20)?\d{2}|(?:19|20)\d{2}[\-/.]\d{1,2}[\-/.]\d{1,2})"
WORDED = (
    rf"(?:{DAY}[ \u00a0]?(?:of[ ]|de[ ])?(?:{MONTHS})(?!\w)\.?,?(?:[ ](?:de[ ]|del[ ])?{YEAR})?|(?:{MONTHS})(?!\w)\.?[ ]{DAY}(?!\w)"
    rf"(?:,?[ ]{{1,2}}{YEAR})?|(?:{MONTHS})(?!\w)\.?,?[ ](?:de[ ])?(?:19|20)\d{{2}})"
)
BIRTH = (
    r"(?:born(?:[ ]on|[ ]in)?|date[ ]of[ ]birth|birth[ ]?date|birthday(?:[ ]is)?|dob|d\.o\.b\.?|geboren(?:[ ]am)?|geb\.|geburtsdatum"
    r"|geburtstag|n[ée]{1,2}e?\(?e?\)?[ ](?:le|el)|"
    r"date[ ]de[ ]naissance|fecha[ ]de[ ]nacimiento|nacid[oa][ ]el|nat[oa][ ]il|data[ ]di[ ]nascita|geboortedatum|urodzon[ya])"
)
DATES: tuple[Rule, ...] = (
    Rule(
        "DATE_OF_BIRTH",
        re.compile(rf"\b{BIRTH}[ ]{{0,2}}[:|=]?[ ]{{0,4}}(?:the[ ])?({NUMERIC}|{WORDED}|(?:19|20)\d{{2}}\b)", re.IGNORECASE),
        0.85,
        group=1,
    ),
    Rule(
        "DATE_TIME",
        re.compile(rf"(?<![\w./\-]){NUMERIC}(?![\w/\-]|\.\d)(?:[T ]\d{{1,2}}:\d{{2}}(?::\d{{2}})?(?:\.\d{{1,6}})?Z?)?"),
        0.7,
        is_valid=lambda value: _is_calendar(re.split(r"[T ]", value)[0]),
    ),
    Rule(
        "DATE_TIME",
        re.compile(r"(?<![\w./\-])(?:19|20)\d{2}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2})?(?:\.\d{1,9})?(?:Z|[+\-]\d{2}:?\d{2})?(?!\w)"),
        0.75,
    ),
    Rule(
        "DATE_TIME",
        re.compile(rf"(?<![\w.,]){WORDED}(?!\w)", re.IGNORECASE),
        0.75,
        is_valid=lambda value: re.search(r"\d{4}|['\u2019]\d\d|\D\d{1,2}\D|^\d|\d$", value) is not None,
    ),
)
UNITS = r"(?:km|kg|cm|mm|m|%|min|minutes?|hours?|h|days?|months?|weeks?|s|sec|percent|euros?|dollars?|bar|volts?|°)"
AGES: tuple[Rule, ...] = (
    Rule(
        "AGE",
        re.compile(
            r"(?<![\w.,])(\d{1,3})(?=[ \-]?(?:years?|yrs?)[ \-]?(?:old|of[ ]age)\b|[ \-]?(?:yo|y/o|y\.o\.)\b|[ ]Jahre[ ]alt\b|[ ]"
            r"?-?jährig|[ ]ans\b(?![ ]d)|[ ]años\b|[ ]anni\b|[ ]jaar[ ]oud\b)",
            re.IGNORECASE,
        ),
        0.8,
        group=1,
        is_valid=lambda value: 0 < int(value) <= 120,
    ),
    Rule(
        "AGE",
        re.compile(
            rf"\b(?:aged?|turn(?:ed|s|ing)?|age[ ]of|age[ ]is|when[ ](?:he|she|I)[ ]was|Alter:?|[âa]ge[ ]?:|I'm|I[ ]am)[ :]+(\d{{1,3}})"
            rf"(?!\w|[.,/:]\d|%|[ ]?{UNITS}\b)",
            re.IGNORECASE,
        ),
        0.7,
        group=1,
        is_valid=lambda value: 0 < int(value) <= 120,
    ),
)
TITLES: tuple[Rule, ...] = (
    Rule("TITLE", re.compile(r"(?<!\w)(?:Mrs|Mr|Ms|Miss|Dr|Prof|Herrn?|Frau|Mme|Mlle|Sra?|Sig)\b\.?(?=[ \u00a0]?[A-ZÀ-Þ]|[ ])"), 0.6),
)
ABSOLUTE = re.compile(
    rf"\d{{1,4}}[./\-]\d{{1,2}}[./\-]\d{{2,4}}\b|\b\d{{1,2}}\.?\s?(?:st|nd|rd|th)?\s?(?:of )?{MONTHS}\b|\b{MONTHS}\.?\s+(?:the\s)"
    rf"?\d{{1,2}}|\b(?:19|20)\d{{2}}\b",
    re.IGNORECASE,
)
"""What makes a date that the model found an absolute one: "this morning", "8+ years" and "14 days" lack it."""
DURATION = re.compile(
    r"\b(?:days?|weeks?|months?|hours?|minutes?|seconds?|quarters?|years?|tagen?|wochen|monaten?|jahren?|jours?|semaines?|mois|ans"
    r"|decades?)\b",
    re.IGNORECASE,
)


def is_absolute_date(value: str) -> bool:
    """Whether a found date pins down a day, a month or a year rather than a length of time."""
    return ABSOLUTE.search(value) is not None and not (DURATION.search(value) and not re.search(r"\b(?:19|20)\d{2}\b", value))
