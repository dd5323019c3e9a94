"""Names of people that something announces: a form of address, a header, a greeting, a signature, a mail address beside it."""

import re

from app.privacy.recognizers.rules import Rule

UPPER = "A-ZÀ-ÖØ-ÞŁŚŻŹĆŃČŠŽŘĚĎŤŇŐŰĞİŞĀĒĪŌŪȘȚĐŽŠΆΈ-ΏΑ-ΩА-ЯЁЇІЄҐ"
CAPITALISED = rf"[{UPPER}][\w'\u2019\-\u00ad\u200b-\u200d\u2060]{{0,40}}+"
JOINT = r"(?:van|von|de|der|den|del|della|di|da|la|le|el|al|bin|ibn|ten|ter|zu|dos|das|du|y)"
NAME = rf"{CAPITALISED}(?:[ \u00a0]{{1,2}}(?:{JOINT}[ ]){{0,2}}(?:{CAPITALISED}|[A-Z]\.)){{0,3}}"
HONORIFICS = (
    r"(?:Mrs|Mr|Ms|Miss|Mx|Dr|Prof|Sir|Dame|Rev|Herrn?|Frau|Hr|Fr|Mme|Mlle|MM?|Monsieur|Madame|Mademoiselle|Ma[îi]tre|Sra?|Se[ñn]ora?"
    r"|Señorita|Don|Doña|"
    r"Sig|Signora?|Sig\.ra|Dott|Pan|Pani|Mevr|Mevrouw|Dhr|Meneer|Herra|Rouva|Fru|Capt|Captain|Sgt|Lt|Col|Judge|Justice|Senator|President)"
)
HEADERS = (
    r"(?:From|To|Cc|Bcc|Von|An|De|À|Name|Full[ ]name|First[ ]name|Last[ ]name|Surname|Employee|Manager|Contact|Candidate|Patient|Kunde"
    r"|Kundin|Client|Cliente|Attn|"
    r"Attention|Signed|Author|Owner|Assignee|Reporter|Reviewer|Approver|Approved[ ]by|Signed[ ]by|Reported[ ]by|Assigned[ ]to|Nom|Pr[ée]"
    r"nom|Nombre|Nachname|Vorname|"
    r"Mitarbeiter(?:in)?|Ansprechpartner(?:in)?|Sachbearbeiter(?:in)?|Bearbeiter(?:in)?|Antragsteller(?:in)?|Versicherte[rn]?|Patientin"
    r"|Mieter(?:in)?|Vermieter(?:in)?|"
    r"Interlocuteur|Salari[ée]e?|Employ[ée]e?|Destinataire|Exp[ée]diteur|Titulaire|Locataire|Bailleur|Cardholder(?:[ ]name)?|Account[ ]"
    r"holder|Beneficiary|Kontoinhaber(?:in)?)"
)
CLOSINGS = (
    r"(?:Kind[ ]regards|Best[ ]regards|Warm[ ]regards|Regards|Best[ ]wishes|Best|Cheers|Thanks|Thank[ ]you|Many[ ]thanks|Sincerely"
    r"|Yours[ ]\w{4,10}|Cordially|"
    r"(?:(?:Mit[ ])?(?:freundlichen|besten|herzlichen|vielen)[ ])?Gr(?:ü|ue)(?:ß|ss)en?|Gru(?:ß|ss)|Hochachtungsvoll|i\.[ ]?A\.|i\.[ ]"
    r"?V\.|Cordialement|Bien[ ](?:à[ ]vous|cordialement)|"
    r"Salutations(?:[ ]\w{1,15}){0,2}|Sinc[èe]res[ ]salutations|Saludos(?:[ ]cordiales)?|Un[ ]saludo|Atentamente|Cordiali[ ]saluti"
    r"|Distinti[ ]saluti|Met[ ]vriendelijke[ ]groet(?:en)?|mvg|MfG|LG|VG)"
)
INTRODUCTIONS = (
    r"(?:my[ ]name[ ]is|name's|I[ ]am|I'm|this[ ]is|ich[ ]bin|ich[ ]hei(?:ß|ss)e|mein[ ]Name[ ]ist|je[ ]m'appelle|je[ ]suis|me[ ]llamo"
    r"|mi[ ]nombre[ ]es|soy|mi[ ]chiamo|"
    r"ik[ ]ben|it's|its|call[ ]me|regarding|spoke[ ](?:to|with)|met[ ]with|signed[ ]by|written[ ]by|approved[ ]by|reported[ ]by"
    r"|assigned[ ]to|on[ ]behalf[ ]of|"
    r"[Ss]ehr[ ]geehrter?[ ](?:Herr|Frau)|[Cc]hère?|[Ll]ieber?|[Dd]ear|[Hh]i|[Hh]ello|[Hh]ey|[Hh]allo|[Bb]onjour|[Hh]ola|[Ee]stimad[oa]"
    r"|[Qq]uerid[oa]|"
    r"(?:El|el|La|la)[ ]cliente|[Cc]ontrat[ ]de[ ]travail[ ]de|Personalakte)"
)
ROLES = (
    r"(?:[Pp]atient|[Cc]andidate|[Ee]mployee|[Tt]enant|[Ll]essor|[Ll]essee|[Ll]andlord|[Aa]pplicant|[Cc]laimant|[Dd]efendant|[Pp]"
    r"laintiff|[Ww]itness|[Cc]ustomer|[Cc]lient|[Ii]nsured|"
    r"[Bb]eneficiary|[Cc]olleague|[Oo]fficer|[Ii]ntern|[Tt]rainee|Patientin|Mitarbeiter(?:in)?|Kunde|Kundin|Mieter(?:in)?|Zeuge|Zeugin"
    r"|Kl[äa]ger(?:in)?|Beklagter?)"
)
"""What a person is in the document, right before the name."""
PATTERNS: tuple[Rule, ...] = (
    Rule(
        "PERSON",
        re.compile(rf"\b{HONORIFICS}\b\.?[ \u00a0]+(?:(?:Dr|Prof|med|jur|rer|nat|habil|Ing|Dipl)\.?(?:-Ing\.)?[ ]+){{0,4}}({NAME})"),
        0.85,
        group=1,
    ),
    Rule(
        "PERSON",
        re.compile(
            rf"^[ \t>|*#\-]{{0,8}}{HEADERS}[*]{{0,2}}[ ]{{0,2}}[:|][*]{{0,2}}[ \t]{{0,4}}({NAME})(?=[ \t]{{0,4}}(?:<|$|\||,|;|\(|\[))",
            re.MULTILINE,
        ),
        0.85,
        group=1,
    ),
    Rule("PERSON", re.compile(rf"\|[ ]{{0,4}}{HEADERS}[ ]{{0,4}}\|[ ]{{0,4}}({NAME})(?=[ ]{{0,4}}\|)"), 0.85, group=1, needs=("|",)),
    Rule(
        "PERSON",
        re.compile(r"^[ \t>]{0,8}(?:name|full name|nom|nombre)[ ]{0,2}:[ ]{0,4}([^\W\d_][^\n\d:<>|]{2,40})$", re.MULTILINE | re.IGNORECASE),
        0.8,
        group=1,
    ),
    Rule(
        "PERSON",
        re.compile(
            r"(?:[Mm]aiden[ ]name|[Ss]urname|[Ll]ast[ ]name|[Ff]irst[ ]name|[Ff]ull[ ]name|[Nn]achname|Geburtsname|[Nn]om[ ]de[ ]"
            r"(?:famille|jeune[ ]fille))[ ](?:is|was|ist|lautet|est)[ ]([^\W\d_][\w'\u2019\-]{1,30})"
        ),
        0.75,
        group=1,
        needs=("name", "nom de"),
    ),
    Rule(
        "PERSON",
        re.compile(
            rf"^({CAPITALISED}(?:[ ]{CAPITALISED})?):[ ](?=[A-Z\"“'])[^\n]{{4,300}}\n{CAPITALISED}(?:[ ]{CAPITALISED})?:[ ]", re.MULTILINE
        ),
        0.4,
        group=1,
        needs=(": ",),
    ),
    Rule("PERSON", re.compile(rf"\b{INTRODUCTIONS}[ ]+({NAME})"), 0.55, group=1),
    Rule("PERSON", re.compile(rf"\b{ROLES}[ ]({NAME})(?=[,;(]|[ ](?:is|was|has|had|born|lives|said|called|aged?)\b)"), 0.7, group=1),
    Rule("PERSON", re.compile(rf"(?:{CLOSINGS})[,.!]?\s{{1,4}}(?:i\.[ ]?[AV]\.[ ])?({NAME})[ \t]*(?=\n|$)"), 0.8, group=1),
    Rule(
        "PERSON",
        re.compile(
            rf"(?<![\w\-])({CAPITALISED}(?:[ \-](?:{CAPITALISED}|[A-Z]\.)){{1,3}})(?=[ ]{{0,3}}[<(\[]?(?:mailto:)?[\w.+\-]{{1,64}}+@)"
        ),
        0.7,
        group=1,
        needs=("@",),
    ),
    Rule(
        "PERSON",
        re.compile(
            rf"(?<![\w\-])({CAPITALISED}(?:[ \-](?:{CAPITALISED}|[A-Z]\.)){{1,3}})(?=[ ]{{0,2}}\((?:mobile|cell|phone|tel|Tel|Handy"
            rf"|geb\.|geboren|born|né|née|nacid|aged?)\b)"
        ),
        0.7,
        group=1,
        needs=("(",),
    ),
    Rule(
        "PERSON",
        re.compile(
            r'"(?:first_?name|last_?name|full_?name|surname|given_?name|family_?name|display_?name|customer_?name|employee_?name'
            r'|contact_?name)"\s{0,3}:\s{0,3}"([^"\n]{2,60})"',
            re.IGNORECASE,
        ),
        0.85,
        group=1,
        needs=("name",),
    ),
    Rule(
        "PERSON",
        re.compile(r'"name"\s{0,3}:\s{0,3}"([^\W\d_a-z][^\W\d_]{1,20}[ ][^\W\d_a-z][^\W\d_]{1,20})"'),
        0.7,
        group=1,
        needs=('"name"',),
    ),
)
