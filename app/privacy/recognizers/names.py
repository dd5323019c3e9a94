"""Names of people: patterns that announce one (a greeting, a header, a signature) and the name list for what stands alone."""

import re
from dataclasses import dataclass

from presidio_analyzer import LocalRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts
from spacy.lang.en.stop_words import STOP_WORDS

from app.privacy.lexicon import PARTICLES, Lexicon
from app.privacy.recognizers.rules import Rule

UPPER = "A-ZÀ-ÖØ-ÞŁŚŻŹĆŃČŠŽŘĚĎŤŇŐŰĞİŞĀĒĪŌŪȘȚĐŽŠΆΈ-ΏΑ-ΩА-ЯЁЇІЄҐ"
CAPITALISED = rf"[{UPPER}][\w'’\-\u00ad\u200b-\u200d\u2060]{{0,40}}+"
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
            r"(?:famille|jeune[ ]fille))[ ](?:is|was|ist|lautet|est)[ ]([^\W\d_][\w'’\-]{1,30})"
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
WORD = re.compile(r"[^\W\d_][\w'’\-\u00ad\u200b-\u200d\u2060]*+")
INVISIBLE = dict.fromkeys([0xAD, 0x200B, 0x200C, 0x200D, 0x2060])
NEAR = frozenset({" ", "  ", "\u00a0", ". ", ".", "\n", " \n", "- ", "\u202f"})
MAX_GIVEN = 4
THINGS = frozenset(
    [
        "street",
        "road",
        "avenue",
        "lane",
        "park",
        "plaza",
        "station",
        "airport",
        "hospital",
        "university",
        "school",
        "church",
        "hotel",
        "county",
        "city",
        "river",
        "lake",
        "island",
        "islands",
        "valley",
        "bridge",
        "tower",
        "building",
        "center",
        "centre",
        "square",
        "court",
        "hall",
        "house",
        "college",
        "team",
        "group",
        "bank",
        "project",
        "phase",
        "day",
        "award",
        "prize",
        "act",
        "law",
        "test",
        "way",
        "hill",
        "field",
        "fields",
        "garden",
        "gardens",
        "market",
        "office",
        "room",
        "company",
        "club",
        "line",
        "lines",
        "mall",
        "bay",
        "beach",
        "coast",
        "creek",
        "forest",
        "mountain",
        "view",
        "village",
        "town",
        "state",
        "states",
        "ring",
        "gate",
        "gates",
        "place",
        "point",
        "power",
        "light",
        "star",
        "stars",
    ]
)
"""What the second of two capitalised listed words means when the first is an ordinary word too: "Baker Street", "Grace Hall"."""
ANNOUNCING = frozenset(
    [
        "i'm",
        "im",
        "am",
        "is",
        "its",
        "it's",
        "hi",
        "hello",
        "hey",
        "dear",
        "mr",
        "mrs",
        "ms",
        "miss",
        "dr",
        "thanks",
        "regards",
        "cheers",
        "by",
        "ask",
        "tell",
        "call",
        "named",
        "called",
        "mister",
    ]
)
"""Words before a first name in lower case, as people write in a chat."""
FUNCTION = STOP_WORDS | frozenset(
    ["der", "die", "das", "und", "von", "mit", "für", "ist", "les", "des", "une", "est", "los", "las", "con", "son", "may"]
)
"""Words that are never a surname in running lower-case text, whatever a list says."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the text: its range, and its lower-case form without invisible characters and possessive."""

    start: int
    end: int
    lower: str
    is_capital: bool
    is_upper: bool


def words_of(text: str) -> list[Word]:
    """Words of `text` in order; a possessive `'s` stays outside the word's range."""
    found = []
    for match in WORD.finditer(text):
        raw = match.group()
        end = match.end()
        if raw.endswith(("'s", "’s")):
            raw, end = raw[:-2], end - 2
        raw = raw.rstrip("-'’")
        end = match.start() + len(raw)
        lower = raw.translate(INVISIBLE).lower() if not raw.isascii() else raw.lower()
        found.append(Word(match.start(), end, lower, raw[:1].isupper(), len(raw) > 1 and raw.isupper()))
    return found


class NameListRecognizer(LocalRecognizer):
    """First name and surname in a row, in any case and either order; one of them at least stands in a list and is no ordinary word.

    `allows_singles` lets a first name alone count: off for languages that write every noun with a capital.
    """

    def __init__(self, lexicon: Lexicon, language: str) -> None:
        self.lexicon = lexicon
        super().__init__(supported_entities=["PERSON"], name="name_list", supported_language=language)

    def load(self) -> None:
        """Nothing to load: the lexicon is handed in."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None) -> list[RecognizerResult]:  # noqa: ARG002
        """Names found in `text`, longest first at each place."""
        words = words_of(text)
        found = []
        i = 0
        while i < len(words):
            hit = (
                self._given_then_surname(text, words, i)
                or self._around_initial(text, words, i)
                or self._surname_then_given(text, words, i)
                or self._unlisted_then_surname(text, words, i)
                or self._single(text, words, i)
            )
            if hit is None:
                i += 1
                continue
            last, score = hit
            found.append(RecognizerResult("PERSON", words[i].start, words[last].end, score))
            i = last + 1
        return found

    def _is_given(self, word: Word) -> bool:
        return any(part in self.lexicon.sure_first for part in (word.lower, word.lower.split("-")[0]))

    def _is_surname(self, word: Word) -> bool:
        return any(
            part in self.lexicon.sure_last
            for part in (word.lower, word.lower.split("-")[0], word.lower.removeprefix("o'").removeprefix("o’").removeprefix("d'"))
        )

    def _given_then_surname(self, text: str, words: list[Word], i: int) -> tuple[int, float] | None:
        first = words[i]
        sure = self._is_given(first)
        if not sure and first.lower not in self.lexicon.first:
            return None
        j = i + 1
        while (
            j < len(words)
            and j <= i + MAX_GIVEN
            and _are_near(text, words[j - 1], words[j])
            and (words[j].lower in PARTICLES or len(words[j].lower) == 1)
        ):
            j += 1
        if j >= len(words) or not _are_near(text, words[j - 1], words[j]):
            return None
        score = self._weigh(first, words[j], is_sure=sure)
        if score == 0:
            return None
        while (
            j + 1 < len(words)
            and words[j + 1].is_capital
            and text[words[j].end : words[j + 1].start] == " "
            and self.lexicon.is_sure_name(words[j + 1].lower)
        ):
            j += 1
        return j, score

    def _weigh(self, first: Word, last: Word, *, is_sure: bool) -> float:
        """Score of "first last": 0 when neither list and case speak for a name."""
        is_surname = self._is_surname(last)
        both_capital = first.is_capital and last.is_capital
        if is_surname and is_sure:
            return 0.9
        if is_surname and both_capital:
            return 0.75
        if is_sure and both_capital and self._may_be_surname(last):
            return 0.7 if last.lower in self.lexicon.last else 0.65
        if first.is_capital or (last.is_capital and not last.is_upper):
            is_both_listed = (
                both_capital and last.lower in self.lexicon.last and not {first.lower, last.lower} & FUNCTION and last.lower not in THINGS
            )
            return 0.5 if is_both_listed and not {first.lower, last.lower} & self.lexicon.products else 0.0
        is_listed = is_surname or (is_sure and last.lower in self.lexicon.last and last.lower not in FUNCTION)
        return 0.6 if is_listed and first.lower not in FUNCTION else 0.0

    def _may_be_surname(self, word: Word) -> bool:
        """Any capitalised word that is neither ordinary nor technical: surnames are too many for a list."""
        return len(word.lower) > 1 and (word.lower in self.lexicon.last or not self.lexicon.is_plain(word.lower))

    def _around_initial(self, text: str, words: list[Word], i: int) -> tuple[int, float] | None:
        """ "Landerico B. Hidalgo": two capitalised words around an initial, neither an ordinary word, the last one listed or both unknown."""
        if i + 2 >= len(words) or len(words[i + 1].lower) != 1 or not words[i + 1].is_capital:
            return None
        first, last = words[i], words[i + 2]
        is_shaped = (
            first.is_capital and last.is_capital and len(first.lower) > 1 and len(last.lower) > 1 and first.is_upper == last.is_upper
        )
        is_close = text[first.end : words[i + 1].start] == " " and text[words[i + 1].end : last.start] in {" ", ". "}
        if not (is_shaped and is_close) or self.lexicon.is_plain(first.lower):
            return None
        return (i + 2, 0.75) if self._may_be_listed(last) or not self.lexicon.is_plain(last.lower) else None

    def _unlisted_then_surname(self, text: str, words: list[Word], i: int) -> tuple[int, float] | None:
        """A capitalised word nobody listed before a sure surname: weak, so that a place or company the model sees wins."""
        if i + 1 >= len(words) or text[words[i].end : words[i + 1].start] != " ":
            return None
        first, last = words[i], words[i + 1]
        is_shaped = first.is_capital and last.is_capital and not first.is_upper and not last.is_upper and len(first.lower) > 2  # noqa: PLR2004
        return (i + 1, 0.55) if is_shaped and not self.lexicon.is_plain(first.lower) and self._is_surname(last) else None

    def _may_be_listed(self, word: Word) -> bool:
        return self._is_surname(word) or (word.lower in self.lexicon.last and word.lower not in FUNCTION)

    def _surname_then_given(self, text: str, words: list[Word], i: int) -> tuple[int, float] | None:
        if i + 1 >= len(words):
            return None
        last, first = words[i], words[i + 1]
        gap = text[last.end : first.start]
        if gap == ", " and last.is_capital == first.is_capital:
            if self._is_given(first) and (self._is_surname(last) or (last.lower in self.lexicon.last and last.is_capital)):
                return i + 1, 0.9 if self._is_surname(last) else 0.7
            if self._is_surname(last) and last.is_capital and first.lower in self.lexicon.first and first.lower not in FUNCTION:
                return i + 1, 0.65
        if gap == " " and last.is_upper and first.is_capital and not first.is_upper and self._is_surname(last) and self._is_given(first):
            return i + 1, 0.9
        return None

    def _single(self, text: str, words: list[Word], i: int) -> tuple[int, float] | None:
        word = words[i]
        if len(word.lower) == 1 and word.is_capital and i + 1 < len(words):
            return self._initial_then_surname(text, words, i)
        if len(word.lower) < 3:  # noqa: PLR2004
            return None
        if not self._is_given(word):
            return (
                (i, 0.4)
                if word.is_capital
                and not word.is_upper
                and len(word.lower) > 3
                and self._is_surname(word)
                and not _opens_sentence(text, word)
                else None
            )  # noqa: PLR2004
        if not word.is_capital or word.is_upper:
            is_announced = i > 0 and words[i - 1].lower in ANNOUNCING and text[words[i - 1].end : word.start] in {" ", ", ", ": "}
            return (i, 0.5) if is_announced and not self.lexicon.is_plain(word.lower) else None
        if len(word.lower) == 3 and word.lower.isascii():  # noqa: PLR2004
            return None
        before = (
            i > 0 and words[i - 1].is_capital and text[words[i - 1].end : word.start] == " " and not _opens_sentence(text, words[i - 1])
        )
        after = i + 1 < len(words) and words[i + 1].is_capital and text[word.end : words[i + 1].start] == " "
        return None if before or after else (i, 0.45)

    def _initial_then_surname(self, text: str, words: list[Word], i: int) -> tuple[int, float] | None:
        j = i + 1
        if text[words[i].end : words[j].start] not in {". ", "."}:
            return None
        while j < len(words) - 1 and j < i + MAX_GIVEN and (words[j].lower in PARTICLES or len(words[j].lower) == 1):
            j += 1
        return (
            (j, 0.65) if words[j].is_capital and self._may_be_listed(words[j]) and text[words[j - 1].end : words[j].start] in NEAR else None
        )


def _are_near(text: str, left: Word, right: Word) -> bool:
    return text[left.end : right.start] in NEAR


def _opens_sentence(text: str, word: Word) -> bool:
    before = text[max(0, word.start - 3) : word.start].rstrip(" \"'“„(")
    return not before or before[-1] in ".!?\n:"
