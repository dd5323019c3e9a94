"""The English entity model: spaCy's `ner` alone (its other parts cost half the time and change nothing), as a Presidio NLP engine.

Only text routed as English is read. Runs under one lock: spaCy holds the interpreter anyway, and a memory zone, which gives
back what a call allocated for new words, must not be entered twice.
"""

import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import spacy
from presidio_analyzer import LocalRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine
from spacy.language import Language
from spacy.tokens import Doc
from spacy.vocab import Vocab

from app.errors import ConfigurationError
from app.privacy.casing import folded_lines
from app.privacy.lexicon import Lexicon
from app.privacy.recognizers.dates import is_absolute_date

ENGLISH = "en"
OTHER = "xx"
"""The engine's two routes: with the model, and without."""
EXCLUDED = ["tok2vec", "tagger", "parser", "attribute_ruler", "lemmatizer", "senter", "morphologizer"]
MODEL_FILES = (
    "config.cfg",
    "meta.json",
    "ner/cfg",
    "ner/model",
    "ner/moves",
    "tokenizer",
    "vocab/key2row",
    "vocab/lookups.bin",
    "vocab/strings.json",
    "vocab/vectors",
    "vocab/vectors.cfg",
)
NO_TOKENS = Doc(Vocab())
"""Presidio wants a document in every artifact; ours carry plain entities instead, so that no text lives on in spaCy objects."""
TYPES = {
    "PERSON": "PERSON",
    "GPE": "LOCATION",
    "LOC": "LOCATION",
    "FAC": "LOCATION",
    "ORG": "ORGANIZATION",
    "NORP": "NRP",
    "DATE": "DATE_TIME",
}
SCORES = {"PERSON": 0.85, "LOCATION": 0.85, "ORGANIZATION": 0.6, "NRP": 0.85, "DATE_TIME": 0.6}
INNER_CAPITAL = re.compile(
    r"(?!Mc|Mac|O['\u2019]|D['\u2019]|De[A-Z]|Di[A-Z]|Du[A-Z]|La[A-Z]|Le[A-Z]|Van|Fitz)[A-Za-z]{1,12}[a-z][A-Z][A-Za-z]*$|[A-Z]{2,5}$"
)
"""Acronyms and product names ("TTSC", "FedRAMP", "HRLinks"): one such word is a name only if a list says so."""
UNREADABLE = re.compile(r"\S{100,}+|[\W\d_]{24,}+")
NOT_BREAK = re.compile(r"[^\n]")
LETTERS = re.compile(r"[^\W\d_]+")
_LINES_PER_BATCH = 32
ROLE = re.compile(
    r"(?:(?:Patient|Employee|Candidate|Manager|Contact|Client|Customer|Officer|Agent|Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Herr|Frau|Dear|Hi|Hello"
    r"|From|To|Cc|Answer|Name|Regards|Thanks)\b[.:,]*[ \"]*)+(?=\w)"
)
"""Words the model takes for part of a name that stand before it."""


@dataclass(frozen=True, slots=True)
class Entity:
    """What the model said of a range, before we judge it. `is_folded`: read from a title-cased copy of a line without case."""

    start: int
    end: int
    label: str
    is_folded: bool = False


class NerArtifacts(NlpArtifacts):
    """Presidio's carrier between engine and recognizers, with plain entities instead of spaCy objects."""

    def __init__(self, language: str, found: tuple[Entity, ...]) -> None:
        super().__init__(entities=[], tokens=NO_TOKENS, tokens_indices=[], lemmas=[], nlp_engine=None, language=language)
        self.found = found


def load_pipeline(folder: Path) -> Language:
    """The spaCy pipeline at `folder`. Raises ConfigurationError when it is missing or damaged."""
    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        message = f"The model that finds personal data is not complete at {folder} (no {missing[0]}): run `make models`."
        raise ConfigurationError(message)
    try:
        return spacy.load(folder, exclude=EXCLUDED)
    except Exception as error:
        message = f"The model that finds personal data at {folder} cannot be read: run `make models`."
        raise ConfigurationError(message) from error


class NerEngine(NlpEngine):
    """Entities of English text; nothing for the other route."""

    def __init__(self, folder: Path) -> None:
        self._pipeline = load_pipeline(folder)
        self._lock = threading.Lock()

    def load(self) -> None:
        """Loaded on construction, so that a damaged model stops the start and not the first document."""

    def is_loaded(self) -> bool:
        """Always."""
        return True

    def process_text(self, text: str, language: str) -> NerArtifacts:
        """Entities of `text` on the English route, none on the other."""
        if language != ENGLISH or not text.strip():
            return NerArtifacts(language, ())
        readable = _blank_unreadable(text)
        folded = list(folded_lines(readable))
        found: list[Entity] = []
        # One batch: called line by line the model costs twice as much.
        with self._lock, self._pipeline.memory_zone():
            docs = self._pipeline.pipe([readable, *(line for _, line in folded)], batch_size=_LINES_PER_BATCH)
            for is_folded, offset, doc in zip([False, *[True] * len(folded)], [0, *(offset for offset, _ in folded)], docs, strict=True):
                found.extend(Entity(offset + e.start_char, offset + e.end_char, e.label_, is_folded) for e in doc.ents)
        return NerArtifacts(language, tuple(found))

    def process_batch(
        self,
        texts: Iterable[str],
        language: str,
        batch_size: int = 1,
        n_process: int = 1,
        **_: object,
    ) -> Iterator[tuple[str, NerArtifacts]]:
        """One text after another: batching gains 5 % here and would hold more text in memory."""
        for text in texts:
            yield text, self.process_text(text, language)

    def is_stopword(self, word: str, language: str) -> bool:
        """Not asked: context words are part of the rules."""
        return False

    def is_punct(self, word: str, language: str) -> bool:
        """Not asked: context words are part of the rules."""
        return False

    def get_supported_entities(self) -> list[str]:
        """Entity types the model can name."""
        return sorted(set(TYPES.values()))

    def get_supported_languages(self) -> list[str]:
        """The two routes."""
        return [ENGLISH, OTHER]


def _blank_unreadable(text: str) -> str:
    """`text`, of the same length, without what holds no prose: long unbroken strings and long runs without a letter.

    spaCy's tokenizer peels such strings character by character, in time that grows with the square of their length.
    """
    return UNREADABLE.sub(lambda match: NOT_BREAK.sub(" ", match.group()), text)


class NerRecognizer(LocalRecognizer):
    """Judges the model's entities: a name needs a trace of being one, a place letters, a date a day or a year."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        super().__init__(supported_entities=sorted(set(TYPES.values())), name="ner", supported_language=ENGLISH)

    def load(self) -> None:
        """Nothing to load: the engine holds the model."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None) -> list[RecognizerResult]:
        """Entities that pass, with the types of this gateway."""
        if not isinstance(nlp_artifacts, NerArtifacts):
            return []
        return [result for entity in nlp_artifacts.found if (result := self._judge(text, entity)) is not None]

    def _judge(self, text: str, entity: Entity) -> RecognizerResult | None:
        kind = TYPES.get(entity.label)
        if kind is None:
            return None
        start, end = _trim(text, entity.start, entity.end)
        if kind == "PERSON":
            start += len(match.group()) if (match := ROLE.match(text[start:end])) else 0
        value = text[start:end]
        words = [word.lower() for word in LETTERS.findall(value)]
        if end - start < 2 or not (words or kind == "DATE_TIME"):
            return None
        if entity.is_folded:
            named = (
                kind == "PERSON"
                and any(self.lexicon.is_sure_name(word) for word in words)
                and not any(word in self.lexicon.products for word in words)
            )
            return RecognizerResult("PERSON", start, end, 0.6) if named else None
        if kind in {"ORGANIZATION", "LOCATION"} and self._is_person_after_all(value, words):
            kind = "PERSON"
        return RecognizerResult(kind, start, end, SCORES[kind]) if self._passes(kind, value, words, text, start) else None

    def _is_person_after_all(self, value: str, words: list[str]) -> bool:
        """Two or three words, the first a sure first name and the last a surname: the model mistakes such people for companies."""
        if len(words) not in {2, 3} or not value[0].isupper() or words[-1] not in self.lexicon.sure_last:
            return False
        return words[0] in self.lexicon.first and words[0] not in self.lexicon.products

    def _passes(self, kind: str, value: str, words: list[str], text: str, start: int) -> bool:
        if kind == "DATE_TIME":
            return is_absolute_date(value)
        if kind == "NRP":
            return not any(character.isdigit() for character in value)
        if re.search(r"[_=<>{}@#\\\[\];|]|\d[A-Za-z]|[A-Za-z]\d|://", value):
            return False
        if kind == "PERSON":
            return self._passes_person(value, words, text, start)
        if kind == "LOCATION":
            return not all(word in self.lexicon.products for word in words) and sum(map(len, words)) > 1
        return not all(self.lexicon.is_plain(word) for word in words) and not value[-1].isdigit()

    def _passes_person(self, value: str, words: list[str], text: str, start: int) -> bool:
        if (
            any(character.isdigit() for character in value)
            or value in {"s", "ain"}
            or (value.islower() and not self.lexicon.is_name(words[0]))
            or all(word in self.lexicon.products for word in words)
        ):
            return False
        if len(words) == 1 and INNER_CAPITAL.match(value) and not self.lexicon.is_name(words[0]):
            return False
        if not all(self.lexicon.is_plain(word) for word in words):
            return True
        if len(words) > 1:
            return all(part[0].isupper() for part in value.split() if part[0].isalpha()) and any(
                self.lexicon.is_name(word) for word in words
            )
        opens = not text[:start].rstrip() or text[:start].rstrip()[-1] in ".!?:;-*|"
        return words[0] in self.lexicon.first and value[0].isupper() and not opens


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Cut at a line break, strip quotes, brackets, a possessive and a trailing mark."""
    line_break = text.find("\n", start, end)
    if line_break > start + 1:
        end = line_break
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and not (text[end - 1].isalnum() or text[end - 1] == "."):
        end -= 1
    if text[start:end].endswith(("'s", "\u2019s")):
        end -= 2
    return start, end
