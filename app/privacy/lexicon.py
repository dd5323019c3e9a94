"""Words the name recognizers weigh: names of many countries, ordinary words that are names as well, product names, stop words.

Loaded once per process and shared; all lookups are in lower case. The files stand in `resources/` and count into the digest.
"""

import gzip
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

RESOURCES = Path(__file__).parent / "resources"
RESOURCE_FILES = ("names.txt.gz", "ordinary.txt.gz", "ambiguous.txt", "doubtful.txt", "products.txt", "stop_words.txt.gz")

PARTICLES = frozenset(
    [
        "van",
        "von",
        "de",
        "der",
        "den",
        "del",
        "della",
        "di",
        "da",
        "dos",
        "das",
        "la",
        "le",
        "el",
        "al",
        "bin",
        "ibn",
        "ten",
        "ter",
        "zu",
        "y",
        "e",
        "af",
        "av",
        "o'",
        "d'",
        "du",
        "des",
        "st",
        "st.",
        "mac",
        "mc",
        "ap",
        "abu",
        "ben",
        "bar",
    ]
)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """`first` and `last` hold every listed name; `sure_first` and `sure_last` those that are not ordinary words besides.

    Words in `doubtful.txt` ("foster", "page") are unsure as names, but where the model sees a name in one it is believed.
    """

    first: frozenset[str]
    last: frozenset[str]
    sure_first: frozenset[str]
    sure_last: frozenset[str]
    ordinary: frozenset[str]
    products: frozenset[str]

    def is_name(self, word: str) -> bool:
        """Whether `word` (lower case) is listed as a first name or a surname, ordinary word or not."""
        return any(part in self.first or part in self.last for part in (word, *word.split("-")))

    def is_sure_name(self, word: str) -> bool:
        """Whether `word` (lower case) is a listed name and nothing else we know of."""
        return word in self.sure_first or word in self.sure_last

    def is_plain(self, word: str) -> bool:
        """Whether `word` (lower case) is an ordinary or a technical word."""
        return word in self.ordinary or word in self.products


def _lines(name: str) -> list[str]:
    path = RESOURCES / name
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return raw.decode().splitlines()


@lru_cache(maxsize=1)
def load_lexicon() -> Lexicon:
    """The lexicon of this build."""
    first: set[str] = set()
    last: set[str] = set()
    for line in _lines("names.txt.gz"):
        word, _, kinds = line.partition("\t")
        if "f" in kinds:
            first.add(word)
        if "l" in kinds:
            last.add(word)
    ordinary = frozenset((*_lines("ordinary.txt.gz"), *_lines("ambiguous.txt")))
    products = frozenset(_lines("products.txt"))
    unsure = ordinary | products | frozenset(_lines("doubtful.txt"))
    return Lexicon(frozenset(first), frozenset(last), frozenset(first - unsure), frozenset(last - unsure), ordinary, products)


@lru_cache(maxsize=1)
def load_stop_words() -> dict[str, frozenset[str]]:
    """Function words in lower case by ISO 639-1 language."""
    words: dict[str, set[str]] = {}
    for line in _lines("stop_words.txt.gz"):
        language, _, word = line.partition("\t")
        words.setdefault(language, set()).add(word)
    return {language: frozenset(found) for language, found in words.items()}


def resource_bytes() -> bytes:
    """All resource files in a fixed order, for the digest."""
    return b"\0".join((RESOURCES / name).read_bytes() for name in RESOURCE_FILES)
