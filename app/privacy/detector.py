"""The detector: one call per text at ingest, whose spans are stored beside it. Presidio runs the recognizers; we route, cut and resolve.

No network: the recognizers are ours and the model is a local folder. Nothing analysed is kept or logged.
"""

import hashlib
import logging
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerRegistry
from presidio_analyzer.context_aware_enhancers import ContextAwareEnhancer
from presidio_analyzer.nlp_engine import NlpArtifacts
from presidio_analyzer.recognizer_result import RecognizerResult

from app.domain.privacy import Analysis, Span
from app.privacy import language as languages
from app.privacy import resolver
from app.privacy.legible import make_legible
from app.privacy.lexicon import load_lexicon, resource_bytes
from app.privacy.negatives import WEAK, find_negatives, is_inside
from app.privacy.ner import ENGLISH, MODEL_FILES, OTHER, NerEngine, NerRecognizer
from app.privacy.propagation import propagate
from app.privacy.recognizers.address import ADDRESSES
from app.privacy.recognizers.dates import AGES, DATES, TITLES
from app.privacy.recognizers.iban import IbanRecognizer
from app.privacy.recognizers.identifiers import IDENTIFIERS
from app.privacy.recognizers.listed_names import NameListRecognizer
from app.privacy.recognizers.names import PATTERNS
from app.privacy.recognizers.organizations import ORGANIZATIONS
from app.privacy.recognizers.phone import PhoneRecognizer
from app.privacy.recognizers.rules import RuleRecognizer
from app.privacy.recognizers.secrets import SECRETS, find_key_blocks
from app.privacy.recognizers.structured import STRUCTURED
from app.privacy.recognizers.tables import TableRecognizer
from app.privacy.segments import Segment, split
from app.privacy.signature import find_titles

THRESHOLD = 0.35
DIGESTED_SOURCES = (
    "casing.py",
    "detector.py",
    "language.py",
    "legible.py",
    "lexicon.py",
    "negatives.py",
    "ner.py",
    "propagation.py",
    "resolver.py",
    "segments.py",
    "signature.py",
    "recognizers/*.py",
)


class _NoContext(ContextAwareEnhancer):
    """Scores stay as they are: our rules carry their context words themselves."""

    def __init__(self) -> None:
        super().__init__(context_similarity_factor=0, min_score_with_context_similarity=0, context_prefix_count=0, context_suffix_count=0)

    def enhance_using_context(
        self,
        text: str,
        raw_results: list[RecognizerResult],
        nlp_artifacts: NlpArtifacts,
        recognizers: list[EntityRecognizer],
        context: list[str] | None = None,
    ) -> list[RecognizerResult]:
        """The results as they came."""
        return raw_results


class Detector:
    """Finds personal data in text of any language; names in free English text by the model, elsewhere by rules and name list.

    `glossary` holds a tenant's own words (products, projects) that are never names. Safe to call from several threads.
    """

    def __init__(self, model_folder: Path, glossary: frozenset[str] = frozenset()) -> None:
        """Load the model. Raises ConfigurationError naming the command that mends it when the folder is missing or damaged."""
        logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
        self._lexicon = load_lexicon()
        self._glossary = frozenset(word.lower() for word in glossary)
        engine = NerEngine(model_folder)
        recognizers: list[EntityRecognizer] = [NerRecognizer(self._lexicon)]
        for route in (ENGLISH, OTHER):
            recognizers += [
                RuleRecognizer("structured", STRUCTURED, route),
                RuleRecognizer("identifiers", IDENTIFIERS, route),
                RuleRecognizer("secrets", SECRETS, route),
                RuleRecognizer("addresses", ADDRESSES, route, reads_caseless=True),
                RuleRecognizer("dates", (*DATES, *AGES), route),
                RuleRecognizer("organizations", ORGANIZATIONS, route),
                RuleRecognizer("titles", TITLES, route),
                RuleRecognizer("name_patterns", PATTERNS, route),
                IbanRecognizer(route),
                PhoneRecognizer(route),
                TableRecognizer(route),
                NameListRecognizer(self._lexicon, route, has_model=route == ENGLISH),
            ]
        registry = RecognizerRegistry(recognizers=recognizers, supported_languages=[ENGLISH, OTHER])
        self._analyzer = AnalyzerEngine(
            registry=registry,
            nlp_engine=engine,
            supported_languages=[ENGLISH, OTHER],
            context_aware_enhancer=_NoContext(),
            default_score_threshold=THRESHOLD,
        )
        self.digest = _digest(model_folder, self._glossary)

    def analyze(self, text: str, language: str | None = None) -> Analysis:
        """Personal data in `text` (raw). `language` is a hint for text too short to tell; what the text says of itself wins."""
        legible = make_legible(text)
        spoken, spans = self._find(legible.text, language or ENGLISH)
        return Analysis(spoken, legible.restore(spans), self.digest)

    def _find(self, text: str, hint: str) -> tuple[str, tuple[Span, ...]]:
        """Language and resolved spans of a legible text."""
        spoken = languages.guess(text, hint)
        found = [Span(start, end, "SECRET", 0.99, "secrets") for start, end in find_key_blocks(text)]
        for segment in split(text):
            found.extend(self._analyze_segment(text[segment.start : segment.end], segment, spoken))
        spans = resolver.resolve(text, found)
        carried = [*propagate(text, spans, self._lexicon), *find_titles(text, spans)]
        return spoken, resolver.resolve(text, [*spans, *carried]) if carried else spans

    def _analyze_segment(self, piece: str, segment: Segment, spoken: str) -> Iterator[Span]:
        route = ENGLISH if languages.guess(piece, spoken) == ENGLISH else OTHER
        negatives = find_negatives(piece)
        for result in self._analyzer.analyze(piece, route):
            if result.entity_type in WEAK and is_inside(result.start, result.end, negatives):
                continue
            start, end = segment.start + result.start, segment.start + result.end
            if segment.keeps(start, end) and not self._is_glossary(piece[result.start : result.end]):
                yield Span(start, end, result.entity_type, round(float(result.score), 2), _name_of(result))

    def _is_glossary(self, value: str) -> bool:
        return bool(self._glossary) and value.lower() in self._glossary


def _name_of(result: RecognizerResult) -> str:
    metadata = result.recognition_metadata or {}
    return str(metadata.get(RecognizerResult.RECOGNIZER_NAME_KEY, ""))


def _digest(model_folder: Path, glossary: frozenset[str]) -> str:
    """Changes with anything that could change a span: weights, rules, lists, resolver, libraries, glossary."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in (
        *(model_folder / name for name in MODEL_FILES),
        *sorted(path for pattern in DIGESTED_SOURCES for path in here.glob(pattern)),
    ):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    digest.update(resource_bytes())
    libraries = ",".join(f"{name}={version(name)}" for name in ("presidio-analyzer", "spacy", "phonenumbers"))
    digest.update(f"{resolver.VERSION}|{libraries}|{sorted(glossary)}".encode())
    return digest.hexdigest()
