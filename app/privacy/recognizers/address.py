"""Postal addresses in a dozen languages: number and street, the tail over line breaks, PO boxes, postcodes, what follows "address:".

Addresses of streets are `ADDRESS`; towns, regions and countries the model finds are `LOCATION`, so that a profile can tell them apart.
"""

import re

from app.privacy.recognizers.names import CAPITALISED as CAP
from app.privacy.recognizers.rules import Rule, count_digits

STREET = (
    r"(?:Street|St\.?|Road|Rd\.?|Avenue|Ave\.?|Lane|Ln\.?|Drive|Dr\.?|Boulevard|Blvd\.?|Court|Ct\.?|Square|Sq\.?|Terrace|Place|Pl\.?|Way"
    r"|Close|Crescent|Highway|Hwy|"
    r"Parkway|Pkwy|Circle|Cir\.?|Bypass|Pass|Row|Hill|Gardens|Grove|Mews|Quay|Islands?|Ports?|Forges?|Summit|Track|Trail|Manor|Loop"
    r"|Alley|Plaza|Ridge|Cove|Walk|Park)"
)
LONG_SUFFIX = (
    r"(?:stra(?:ß|ss)e|str\.|gasse|allee|platz|damm|chaussee|brücke|straat|laan|gracht|plein|gade|vænget|stræti|braut|vegur|gatan|vägen"
    r"|gränd|katu|kuja|polku|tänav|veien|svingen|utca|körút|ulica|náměstí|caddesi|sokak)"
)
SUFFIX = (
    rf"(?:{LONG_SUFFIX}|weg|(?<=[nsdlgkf])ring|(?<=[ \-])[Rr]ing|ufer|steig|stieg|pfad|kade|dreef|singel|vej|väg|allén|backen|gata|(?<=[ "
    rf"])gate|(?<=n)tie|põik|"
    r"(?<=[ ])(?:mnt|út|útja|tér|u\.|köz|kapu|trg|ulice)|sok\.)"
)
"""Short endings count only after letters or a blank that English words do not have there: "Engineering 101" is no street."""
ROAD = (
    r"(?:rue|avenue|av\.|boulevard|bd|place|chemin|all[ée]e|impasse|quai|route|cours|via|viale|piazza|corso|calle|c/|avda\.?|avenida"
    r"|paseo|plaza|rua|praça|travessa|strada|ul\.|ulica|al\.)"
)
ARTICLE = (
    r"(?:de[ ]|do[ ]|da[ ]|dos[ ]|das[ ]|di[ ]|delle[ ]|du[ ]|des[ ]|la[ ]|le[ ]|les[ ]|del[ ]|della[ ]|dei[ ]|el[ ]|d'|l'|l\u2019|d\u2019)"
)
UNIT = (
    r"(?:,?\s{0,3}(?:[>?|*]{1,3}[ ]{0,2})?(?:[Aa]pt\.?|Suite|Unit|Flat|App\.?|Floor|\d{1,2}º|Box|Wohnung|Whg\.?|Stiege|Top|b[âa]t\.?"
    r"|esc\.|izq\.?|dcha\.?)\s{0,2}[\w.]{0,6}){0,3}"
)
POSTCODE = r"(?:[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}|(?:[A-Z]{1,2}-)?\d{3,6}(?:[\- ]\d{2,4})?)"
NOT_TOWN = (
    r"(?!(?:Tel|Telefon|T[ée]l|Phone|Mobile?|Cell|Fax|Desk|Office|Home|Work|E-?[Mm]ail|Mail|Web|Website|IBAN|BIC|VAT|Contact|Date|Dear"
    r"|Hi|Hello|Regards|Best|Thanks|Kind|Mit|The|This|That|I|We|You|"
    r"He|She|It|They|Please|From|To|Subject|My|Our|Your|His|Her|Is|Are|And|Or|But|If|When|Sehr|Bitte|Ihre|Ich|Wir|Bonjour|Je|Nous|Merci"
    r"|Card|Name|Signed)\b)"
)
LEAD = r"(?:[ ]{0,4}[>?|*]{1,3}[ ]{0,2})?"
"""Quote marks at the start of a continued line, as replies and forms have them."""
TOWN = (
    rf"{NOT_TOWN}{CAP}(?:[ ](?:(?:am|an|der|de|da|do|dos|di|du|la|le|les|sur|sous|del|della|upon|on|of|bei|im|nad|pod|u|v|ve|na|i|y|e|en)"
    rf"[ ]){{0,2}}{NOT_TOWN}{CAP}){{0,3}}(?:[ ]\([^()\n]{{2,20}}\))?"
)
TAIL = rf"{UNIT}(?:\s{{0,4}},?\s{{0,4}}{LEAD}(?:{POSTCODE}(?:[ ]{{1,2}}{TOWN})?|{TOWN}(?:,?[ ]{POSTCODE})?)(?![\w@])){{0,4}}"


def _has_digit(value: str) -> bool:
    return count_digits(value) > 0


ADDRESSES: tuple[Rule, ...] = (
    Rule("ADDRESS", re.compile(rf"(?<![\w.,\-])\d{{1,6}}[a-zA-Z]?(?:[ \-]\d{{1,5}})?,?[ ]+(?:{CAP}[ ]+){{0,4}}{STREET}(?!\w){TAIL}"), 0.7),
    Rule(
        "ADDRESS",
        re.compile(
            rf"(?<![\w\-])(?:\d{{1,6}}[ ]+)?(?:{CAP}[ ]){{0,3}}[A-ZÀ-ÞĀ-Ž][\w.\-]{{0,40}}?(?:[ \-])?(?:{SUFFIX})[ ]+(?!(?:19|20)\d\d\b)"
            rf"\d{{1,5}}(?:[ ]?[a-zA-Z])?(?![\w%.,]\d|\w|[ ]?%){TAIL}"
        ),
        0.7,
    ),
    Rule(
        "ADDRESS",
        re.compile(
            rf"(?<!\w)(?:\d{{1,6}}[ ]+)?(?:\d{{1,5}}[ ]?(?:bis|ter|quater)?,?[ ]+)?(?i:{ROAD})[ ]+(?i:{ARTICLE}){{0,3}}{CAP}(?:[ ]"
            rf"(?:(?:de|do|du|la|le|les|del|da|das|dos|des|e|y|et|di|della|delle|dei)[ ]){{0,2}}{CAP}){{0,5}}(?:,?[ ]+\d{{1,5}}[a-zA-Z]?)"
            rf"?{TAIL}"
        ),
        0.6,
        is_valid=_has_digit,
    ),
    Rule(
        "ADDRESS",
        re.compile(
            rf"(?<!\w)(?:P\.?[ ]?O\.?[ ]?Box|Postfach|PSC|Unit|CMR|Apartado|BP|Casella Postale|Postbus)[ ]+\d{{1,6}}(?:,?[ ]"
            rf"{{0,3}}(?:Box|BOX)[ ]{{0,3}}\d{{1,5}})?{TAIL}(?:\s{{0,4}}\b(?:APO|FPO|DPO)[ ]+A[AEP](?:[ ]+\d{{5}})?)?"
        ),
        0.75,
    ),
    Rule("ADDRESS", re.compile(r"\b(?:APO|FPO|DPO),?[ ]+A[AEP][ ]+\d{5}\b"), 0.7),
    Rule(
        "ADDRESS",
        re.compile(
            rf"(?<!\w)\d{{1,6}}[ ]+(?:\d{{1,5}}[ ]+)?(?:{CAP}[ ]+){{1,4}}\d{{1,5}}(?!\w),?\s{{0,3}}(?:Apt\.|Suite|Unit)[ ]\d{{1,5}}{TAIL}"
        ),
        0.65,
    ),
    Rule(
        "ADDRESS",
        re.compile(
            r"(?:(?<=address: )|(?<=address is )|(?<=adresse: )|(?<=Address: )|(?<=Adresse: )|(?<=Anschrift: )|(?<=Adresse : )"
            r"|(?<=wohnhaft: )|(?<=Dirección: ))[^\n]{6,90}"
        ),
        0.4,
        is_valid=_has_digit,
    ),
    Rule(
        "ADDRESS",
        re.compile(
            r"\b(?:zip(?:[ ]?code)?|postal[ ]code|postcode|plz|code[ ]postal)\b[:# ]{0,3}(?:is )?([A-Z0-9][A-Z0-9 \-]{2,8}[A-Z0-9])(?!\w)",
            re.IGNORECASE,
        ),
        0.7,
        group=1,
        is_valid=_has_digit,
    ),
    Rule("ADDRESS", re.compile(rf"(?<!\w)(?:Apt\.|Suite)[ ]\d{{1,5}}{TAIL}"), 0.45),
    Rule(
        "ADDRESS",
        re.compile(
            rf"(?<![\w.,\-])\d{{1,6}}[ ](?:[\w.\u2019'\-]{{1,24}}[ ]){{1,5}}?(?:\d{{1,5}}\.?)?\s{{0,3}},?{LEAD}[ ]?(?:Apt\.|Suite|Unit)[ ]"
            rf"\d{{1,5}}{TAIL}"
        ),
        0.6,
    ),
    Rule(
        "ADDRESS",
        re.compile(
            rf"(?<!\w){CAP}(?:[ ]{CAP}){{0,3}}[ ]\d{{1,5}}(?:[ ]{CAP}){{0,3}}\s{{0,3}},?{LEAD}[ ]?(?:Apt\.|Suite|Unit)[ ]\d{{1,5}}{TAIL}"
        ),
        0.55,
    ),
    Rule(
        "ADDRESS",
        re.compile(
            rf"(?<![\w.,\-])\d{{2,6}}[ ](?:\d{{1,5}}[ ])?(?:{CAP}[ ]){{1,5}}\d{{1,5}}\.?[a-z]?(?![\w%.,/\-]\d|\w){UNIT}[ ]{{0,2}}(?:,"
            rf"|\n[ ]{{0,4}},?)[ ]{{0,4}}{LEAD}{TOWN}{TAIL}"
        ),
        0.6,
    ),
    Rule(
        "ADDRESS",
        re.compile(
            rf"(?<![\w.,\-])(?:\d{{1,6}}[ ])?(?:{CAP}[ ]){{0,2}}(?i:[^\W\d_][\w\-]{{1,30}}?{LONG_SUFFIX})[ ]\d{{1,5}}[a-z]?(?![\w%.,/\-]"
            rf"\d|\w|[ ]?%)"
        ),
        0.5,
    ),
    Rule("ADDRESS", re.compile(r"(?<!\w)[A-Z]{1,2}\d[A-Z\d]?[ ]\d[A-Z]{2}(?!\w)"), 0.6),
    Rule("ADDRESS", re.compile(rf"(?<=\b[Ii]n[ ]){TOWN},?[ ](?:\d{{5}}|\d{{3}}[ ]\d{{2}}|\d{{4}}-\d{{3}})(?![\w.,]\d|\w|[ ]?%)"), 0.5),
    Rule("ADDRESS", re.compile(rf"(?<![\w.,\-])(?:D|A|CH|F|L|B|NL|I|E|DK|PL)-\d{{4,5}}[ ]{TOWN}"), 0.65),
)
