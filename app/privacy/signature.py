"""The line below a person's name in a signature or a form: their function, which points at them as a name would."""

import re
from collections.abc import Iterator, Sequence

from app.domain.privacy import Span

SCORE = 0.55
FOUND_BY = "signature"
MAX_WORDS = 7
MAX_BLANK_LINES = 2
LINE = re.compile(r"\n[ \t>|*]{0,6}([^\n]{3,70})")
OCCUPATION = re.compile(
    r"(?:[a-z]{2,}(?:ist|ician|icist|grapher|keeper|maker|worker|smith)|accountant|actuary|administrator|advis[eo]r|agent|aide|analyst"
    r"|apprentice|architect|assessor|assistant|associate|"
    r"attendant|attorney|auditor|banker|barber|bookkeeper|broker|builder|buyer|captain|caretaker|carpenter|cashier|ceo|cfo|chair(?:man"
    r"|woman|person)?|chef|chief|clerk|cleaner|coach|"
    r"collector|conductor|consultant|contractor|controller|cook|coordinator|counsel(?:or|lor)?|courier|cto|curator|dealer|dean|designer"
    r"|developer|director|dispatcher|distributor|doctor|driver|editor|"
    r"educator|electrician|engineer|examiner|executive|expert|farmer|fellow|firefighter|foreman|guard|guide|handler|head|helper"
    r"|host(?:ess)?|housekeeper|inspector|installer|instructor|intern|"
    r"interpreter|investigator|janitor|judge|laborer|lawyer|lead(?:er)?|lecturer|librarian|lieutenant|loader|machinist|manager|mason"
    r"|mechanic|midwife|miner|monitor|negotiator|nurse|officer|"
    r"operator|owner|painter|paralegal|paramedic|partner|pharmacist|physician|pilot|planner|plumber|police|president|principal|producer"
    r"|professor|programmer|prosecutor|receptionist|recruiter|"
    r"repairer|reporter|representative|researcher|salesperson|scientist|secretary|seller|sergeant|servant|setter|singer|specialist"
    r"|spokesperson|staff|statistician|steward|supervisor|surgeon|surveyor|"
    r"tailor|teacher|technician|teller|tester|therapist|trainee|trainer|translator|treasurer|tutor|typist|veterinarian|vp|waiter"
    r"|waitress|warden|welder|worker|writer|"
    r"leiter(?:in)?|gesch[äa]ftsf[üu]hrer(?:in)?|referent(?:in)?|sachbearbeiter(?:in)?|berater(?:in)?|ingenieur(?:in)?|entwickler(?:in)?"
    r"|assistent(?:in)?|prokurist(?:in)?|vorstand|"
    r"directeur|directrice|responsable|g[ée]rante?|conseill[eè]re?|ing[ée]nieure?|charg[ée]e?|secr[ée]taire|comptable)s?",
    re.IGNORECASE,
)
WORD = re.compile(r"[^\W\d_][\w'\u2019\-]*")


def find_titles(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """Function lines below those persons in `spans` (sorted) whose name ends its line."""
    for span in spans:
        if span.entity_type == "PERSON" and (found := _title_below(text, span.end)) is not None:
            yield found


def _title_below(text: str, end: int) -> Span | None:
    at = end
    while at < len(text) and text[at] in " \t,":
        at += 1
    for _ in range(MAX_BLANK_LINES):
        match = LINE.match(text, at)
        if match is not None and match.group(1).strip():
            break
        if at >= len(text) or text[at] != "\n":
            return None
        at += 1
    match = LINE.match(text, at)
    if match is None:
        return None
    value = match.group(1).rstrip()
    words = WORD.findall(value)
    if not 0 < len(words) <= MAX_WORDS or any(character.isdigit() or character in "@:/.!?" for character in value):
        return None
    if not any(OCCUPATION.fullmatch(word) for word in words):
        return None
    return Span(match.start(1), match.start(1) + len(value), "TITLE", SCORE, FOUND_BY)
