"""Numbers that a state, an employer, an insurer or a court gives to one person.

Two ways: a label and the value after it (in a sentence, a table cell, a form), and national shapes whose check digit holds.
Bare digits without label and without check digit are left alone: they are quantities and part numbers more often than people.
"""

import re

from app.privacy.recognizers import checksums
from app.privacy.recognizers.rules import Rule, count_digits

WHO = (
    r"(?:employee|staff|personnel|payroll|customer|client|member(?:ship)?|patient|student|policy|insurance|insured|case|ticket[ ]holder"
    r"|application|"
    r"user|driver'?s?|driving|medical[ ]record|health|tax(?:payer)?|social[ ]security|soc\.?[ ]sec\.?|national|identity|identification"
    r"|passport|licen[cs]e|"
    r"kunden|personal|mitarbeiter|mitglieds|patienten|steuer|versicherungs|versicherten|sozialversicherungs|krankenversicherungs"
    r"|rentenversicherungs|ausweis|"
    r"vertrags|matrikel)"
)
KIND = r"(?:id(?:entifier|entification)?|no|nr|n°|num(?:ber)?|#|nummer|ausweis|card|licen[cs]e|code)"
LABELS = (
    r"(?:SSN|NINO|NI[ ]number|NIR|NHS|MRN|PESEL|DNI|NIE|NIF|CIF|BSN|CPR|CNP|EGN|PPSN?|TFN|SIN|NRIC|Aadhaar|PAN|TIN|ITIN|EIN|VAT(?:[ ]id)"
    r"?|USt-?Id(?:Nr)?|UID|"
    r"AHV(?:-Nr)?|AVS|INSEE|n°[ ](?:de[ ])?s[ée]curit[ée][ ]sociale|num[ée]ro[ ](?:de[ ])?s[ée]curit[ée][ ]sociale|personnummer"
    r"|henkil[öo]tunnus|"
    r"Personalausweis\w{0,12}|Reisepass\w{0,12}|passeport|pasaporte|passaporto|passport|F[üu]hrerschein\w{0,12}|permis[ ]de[ ]conduire"
    r"|Steuer-?ID(?:Nr)?|"
    r"Steuernummer|SV-?Nummer|codice[ ]fiscale|carte[ ]d'identit[ée]|num[ée]ro[ ]client|n°[ ]client|security[ ]code|matricule|licen[cs]"
    r"e[ ]plate|Kennzeichen)"
)
FILLER = r"(?:[ ]?(?:no|nr|number|num|id|card|n°)\b\.?)?[ ]{0,3}(?:(?:is|was|:|=|#|\.|-|\||,|ist|lautet|est|es|è)[ ]{0,3}){0,3}"
VALUE = r"((?=[A-Z0-9./ \-]{0,24}\d)[A-Z0-9](?:[A-Z0-9]|[./ \-](?=[A-Z0-9]{0,24}\d)){3,24})(?!\w)"


def _is_labelled_value(value: str) -> bool:
    """At least four digits, and not a date in disguise or a bare year."""
    return count_digits(value) >= 4 and not re.fullmatch(r"(?:19|20)\d\d|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}-\d\d-\d\d", value)


LABELLED = (
    Rule(
        "ID_NUMBER",
        re.compile(rf"\b(?:{WHO}[ \-]?{KIND}|{LABELS})\b\.?{FILLER}{VALUE}", re.IGNORECASE),
        0.75,
        group=1,
        is_valid=_is_labelled_value,
    ),
    Rule(
        "ID_NUMBER",
        re.compile(rf"\b{WHO}\b[ ]{{0,2}}(?:[:#=]|\|)[ ]{{0,3}}{VALUE}", re.IGNORECASE),
        0.7,
        group=1,
        is_valid=_is_labelled_value,
    ),
    Rule(
        "ID_NUMBER",
        re.compile(r"\b(?:no|nos|nr|case|application|file|Az|Aktenzeichen|dossier)\b\.?:?[ ]{0,3}(\d{1,6}/\d{2,4}(?!\w))", re.IGNORECASE),
        0.7,
        group=1,
        needs=("/",),
    ),
    Rule(
        "ID_NUMBER",
        re.compile(rf"\bID[ ](?:number|no\.?|card|nr\.?){FILLER}{VALUE}", re.IGNORECASE),
        0.7,
        group=1,
        is_valid=_is_labelled_value,
    ),
    Rule("ID_NUMBER", re.compile(r"(?<!\w)(?:KD|KdNr|EMP|MA|CUST|PAT|STU)[\-.#]\d{3,9}(?:-\d{2,6}){0,2}(?!\w)"), 0.7),
)
SHAPES = (
    Rule("ID_NUMBER", re.compile(r"(?<![\w\-])\d{3}-\d{2}-\d{4}(?![\w\-])"), 0.8, is_valid=checksums.is_us_ssn),
    Rule("ID_NUMBER", re.compile(r"(?<![\w\-])\d{3}[ .]\d{2}[ .]\d{4}(?![\w\-])"), 0.55, is_valid=checksums.is_us_ssn),
    Rule("ID_NUMBER", re.compile(r"(?<![\w.])756\.?\d{4}\.?\d{4}\.?\d{2}(?!\w)"), 0.9),
    Rule(
        "ID_NUMBER",
        re.compile(r"(?<!\w)[1-478][ ]?\d{2}[ ]?(?:0[1-9]|1[0-2]|[2-9]\d)[ ]?(?:\d{2}|2[AB])[ ]?\d{3}[ ]?\d{3}[ ]?\d{2}(?!\w)"),
        0.92,
        is_valid=checksums.is_nir,
    ),
    Rule(
        "ID_NUMBER",
        re.compile(r"(?<!\w)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][ ]?\d{2}[ ]?\d{2}[ ]?\d{2}[ ]?[A-D](?!\w)", re.IGNORECASE),
        0.8,
    ),
    Rule("ID_NUMBER", re.compile(r"(?<!\w)(?:\d{8}|[XYZ]\d{7})[\- ]?[A-HJ-NP-TV-Z](?!\w)"), 0.8, is_valid=checksums.is_dni),
    Rule("ID_NUMBER", re.compile(r"(?<![\w\-])(?:19|20)?\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[\-+]\d{4}(?![\w\-])"), 0.75),
    Rule("ID_NUMBER", re.compile(r"(?<!\w)[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z](?!\w)", re.IGNORECASE), 0.9),
    Rule("ID_NUMBER", re.compile(r"(?<![\w.\-])\d{11}(?![\w\-]|\.\d)"), 0.6, is_valid=checksums.is_pesel),
    Rule("ID_NUMBER", re.compile(r"(?<!\w)\d{3}[ ]\d{3}[ ]\d{4}(?!\w)"), 0.5, is_valid=checksums.is_nhs_number),
    Rule(
        "ID_NUMBER",
        re.compile(r"(?<!\w)[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{8}\d(?:<<)?[A-Z]?(?!\w)"),
        0.5,
        is_valid=lambda value: count_digits(value) >= 5,
    ),
)
IDENTIFIERS: tuple[Rule, ...] = (*LABELLED, *SHAPES)
