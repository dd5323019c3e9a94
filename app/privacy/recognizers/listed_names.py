# ruff: noqa: SIM905 - word lists read better as text; lengths of words explain themselves
"""Names of people that stand alone, by the name list: two listed words in a row, one beside a capital, or a first name."""

import re

from presidio_analyzer import LocalRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts

from app.privacy.lexicon import PARTICLES, Lexicon, load_stop_words
from app.privacy.recognizers.words import NEAR, Word, are_near, opens_sentence, words_of

MAX_GIVEN = 4
CODE_NEXT = re.compile(r"[ ][A-Z]{0,4}[\-/]?\d")
"""A type or part code behind two capitalised words: "Pumpe Typ AX-200"."""
NOT_NAME = re.compile(
    r"(?:ung|ungen|heit|heiten|keit|keiten|schaft|schaften|tion|tionen|tions|tät|täten|ismus|ment|ments|ique|ité|ance|ence|ische[nrms]?"
    r"|isch|liche[nrms]?|ige[nrms]?|nummer|zeit|preis|werk|haus"
    r"|amt|gericht|gerichts|gerichtshofs?|gesetz|anlage|system|technik|maschine|stelle|bereich|teil|stück|kosten|plan|daten|buch|satz"
    r"|punkte?n?|euro|meter|grade?s?|jahre?n?|jahrs|monate?n?|woche[n]?|tage?n?"
    r"|prozent|millione?n?|milliarden?|pfund|dollar|höhe|länge|breite|reihe|spiele?n?|liga|kongress|verein|partei|kirche|schule"
    r"|universität|institut|museum|theater|film|serie|album|band|platz|hälfte|viertel"
    r"|fünfter|vierter|dritter|zweiter|erster|letzter|typ|modell|klasse|gruppe|stufe|raum|linie|nr|coupe|ligue|copa|open|awards?|story|portable)$"
)
"""Endings of German and French nouns and adjectives that no surname has, or hardly any."""
THINGS = frozenset(
    (
        "street road avenue lane park plaza station airport hospital university school church hotel county city river lake "
        "island islands valley bridge tower building center centre square court hall house college team group bank project "
        "phase day award prize act law test way hill field fields garden gardens market office room company club line lines "
        "mall bay beach coast creek forest mountain view village town state states ring gate gates place point power light star "
        "stars"
    ).split()
)
"""What the second of two capitalised listed words means when the first is an ordinary word too: "Baker Street", "Grace Hall"."""
ANNOUNCING = frozenset(
    ("i'm im am is its it's hi hello hey dear mr mrs ms miss dr thanks regards cheers by ask tell call named called mister").split()
)
"""Words before a first name in lower case, as people write in a chat."""
FUNCTION = frozenset().union(*(load_stop_words()[language] for language in ("en", "de", "fr"))) | frozenset(
    ("der die das und von mit für ist les des une est los las con son may").split()
)
"""Words that are never a surname in running lower-case text, whatever a list says."""


class NameListRecognizer(LocalRecognizer):
    """First name and surname in a row, in any case and either order; one of them at least stands in a list and is no ordinary word.

    Without a model beside it (`has_model`) a listed first name that is an ordinary word too counts before any unknown surname.
    """

    def __init__(self, lexicon: Lexicon, language: str, *, has_model: bool) -> None:
        self.lexicon = lexicon
        self.has_model = has_model
        super().__init__(supported_entities=["PERSON"], name="name_list", supported_language=language)

    def load(self) -> None:
        """Nothing to load: the lexicon is handed in."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None) -> list[RecognizerResult]:
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
            for part in (word.lower, word.lower.split("-")[0], word.lower.removeprefix("o'").removeprefix("o\u2019").removeprefix("d'"))
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
            and are_near(text, words[j - 1], words[j])
            and (words[j].lower in PARTICLES or len(words[j].lower) == 1)
        ):
            j += 1
        if j >= len(words) or not are_near(text, words[j - 1], words[j]):
            return None
        if j > i + 1 and words[j - 1].lower in PARTICLES and words[j].lower in self.lexicon.last and len(words[j].lower) > 2:
            return j, 0.75
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
        if both_capital and not self.has_model and not last.is_upper and last.lower not in self.lexicon.last and self._may_be_surname(last):
            return 0.5
        if is_sure and both_capital and self._may_be_surname(last):
            return 0.7 if last.lower in self.lexicon.last else 0.65
        if first.is_capital or (last.is_capital and not last.is_upper):
            is_both_listed = (
                both_capital and last.lower in self.lexicon.last and not {first.lower, last.lower} & FUNCTION and last.lower not in THINGS
            )
            return 0.5 if is_both_listed and not {first.lower, last.lower} & self.lexicon.products else 0.0
        return 0.6 if is_surname or (is_sure and last.lower in self.lexicon.last and last.lower not in FUNCTION) else 0.0

    def _may_be_surname(self, word: Word) -> bool:
        """Any capitalised word that is neither ordinary nor technical: surnames are too many for a list."""
        return len(word.lower) > 1 and (word.lower in self.lexicon.last or not self.lexicon.is_plain(word.lower))

    def _around_initial(self, text: str, words: list[Word], i: int) -> tuple[int, float] | None:
        """Two capitalised words around an initial ("Landerico B. Hidalgo"), none ordinary, the last one listed or both unknown."""
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
        is_shaped = first.is_capital and last.is_capital and not first.is_upper and not last.is_upper and len(first.lower) > 2
        if last.lower in self.lexicon.first and i + 2 < len(words) and words[i + 2].is_capital:
            return None
        if not is_shaped or self.lexicon.is_plain(first.lower):
            return None
        if self._is_surname(last):
            return i + 1, 0.55
        if self.has_model or opens_sentence(text, first) or CODE_NEXT.match(text, last.end):
            return None
        return (i + 1, 0.4) if all(self._may_be_foreign_name(word.lower) for word in (first, last)) else None

    def _may_be_foreign_name(self, word: str) -> bool:
        """No word we know, no function word, and no noun or adjective by its ending: what is left in a row of two is a name mostly."""
        return (
            len(word) > 2 and not self.lexicon.is_plain(word) and word not in FUNCTION and word not in THINGS and not NOT_NAME.search(word)
        )

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
        if len(word.lower) < 3:
            return None
        if not self._is_given(word):
            return (
                (i, 0.4)
                if word.is_capital
                and not word.is_upper
                and len(word.lower) > 3
                and self._is_surname(word)
                and not opens_sentence(text, word)
                else None
            )
        if not word.is_capital or word.is_upper:
            is_announced = i > 0 and words[i - 1].lower in ANNOUNCING and text[words[i - 1].end : word.start] in {" ", ", ", ": "}
            return (i, 0.5) if is_announced and not self.lexicon.is_plain(word.lower) else None
        if len(word.lower) == 3 and word.lower.isascii():
            return None
        before = i > 0 and words[i - 1].is_capital and text[words[i - 1].end : word.start] == " " and not opens_sentence(text, words[i - 1])
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
