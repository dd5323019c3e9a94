"""Organisations that say what they are: a name with a legal form. The model finds the others."""

import re

from app.privacy.recognizers.names import CAPITALISED as CAP
from app.privacy.recognizers.rules import Rule

LEGAL_FORM = (
    r"(?:Inc|Ltd|LLC|L\.L\.C|LLP|PLC|plc|Corp|Co|GmbH(?:[ ]&[ ]Co\.?[ ]KG)?|AG|KG|KGaA|UG|SE|e\.V|S\.?A\.?S?|SARL|S\.?L\.?U?|S\.?p\.?A"
    r"|S\.?r\.?l|B\.?V|N\.?V|Oy|Oyj|AB|ApS|A/S|ASA?|"
    r"s\.r\.o|a\.s|Kft|Zrt|Sp\.[ ]z[ ]o\.[ ]?o|Pty(?:[ ]Ltd)?|Limited|Incorporated|Corporation|Group|Holdings?|Bank|University|Foundation)"
)
ORGANIZATIONS: tuple[Rule, ...] = (
    Rule(
        "ORGANIZATION",
        re.compile(rf"(?<![\w\-])(?:{CAP}(?:,?[ ](?:&|and|und|et|of)[ ]|[ ]|,[ ](?={CAP}))){{1,4}}{LEGAL_FORM}(?![\w\-])\.?"),
        0.55,
    ),
)
