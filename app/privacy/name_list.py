"""Writes the name list and the list of ordinary words from Faker's providers (MIT licence): `python -m app.privacy.name_list`.

Run by hand when Faker changes, never at run time: the result is committed under `resources/` and its digest is part of the
detector's. No real person's record is a source; the provider lists are common given names and surnames of some eighty locales.
`resources/names_added.txt` is ours: names common in offices that those lists lack. Cyrillic and Greek names are added in Latin script too.
"""

import gzip
import importlib
import pkgutil
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import faker.providers.lorem as lorem_providers
import faker.providers.person as person_providers

RESOURCES = Path(__file__).parent / "resources"
WORD = re.compile(r"[^\W\d_][\w'\u2019\-]*")
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
        "mac",
        "mc",
        "ap",
        "st",
        "san",
    ]
)
STOP_WORD_LANGUAGES = ("de", "en", "es", "fr", "it", "nl", "pl", "pt", "sv")
WORD_LOCALES = ("en_US", "de_DE", "fr_FR", "nl_NL")
MIN_LETTERS = 3
CYRILLIC = dict(
    zip(
        "абвгґдеєжзиіїйклмнопрстуфхцчшщъыьэюяё",
        [
            "a",
            "b",
            "v",
            "g",
            "g",
            "d",
            "e",
            "ye",
            "zh",
            "z",
            "i",
            "i",
            "yi",
            "y",
            "k",
            "l",
            "m",
            "n",
            "o",
            "p",
            "r",
            "s",
            "t",
            "u",
            "f",
            "kh",
            "ts",
            "ch",
            "sh",
            "shch",
            "",
            "y",
            "",
            "e",
            "yu",
            "ya",
            "e",
        ],
        strict=True,
    )
)
"""Romanization as in passports (ICAO 9303), so that a list in Cyrillic also knows the name as a mail would spell it."""
GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρσςτυφχψω",
        ["a", "v", "g", "d", "e", "z", "i", "th", "i", "k", "l", "m", "n", "x", "o", "p", "r", "s", "s", "t", "y", "f", "ch", "ps", "o"],
        strict=True,
    )
)
"""ELOT 743 without digraphs: close enough for lookup."""
IDEOGRAPHS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def _values(provider: object, prefix: str) -> Iterable[str]:
    for attribute in dir(provider):
        if attribute.startswith(prefix):
            value = getattr(provider, attribute)
            if isinstance(value, tuple | list | dict | set | frozenset):
                yield from (item for item in value if isinstance(item, str))


def _spellings(name: str) -> set[str]:
    """The name in lower case, as written, without accents, and with German and Nordic letters written out."""
    lowered = unicodedata.normalize("NFC", name).casefold() if "ß" not in name else unicodedata.normalize("NFC", name).lower()
    written_out = lowered
    for letter, pair in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss"), ("ø", "oe"), ("å", "aa"), ("æ", "ae")):
        written_out = written_out.replace(letter, pair)
    stroke = lowered.translate(str.maketrans("łøđı", "lodi"))
    plain = "".join(c for c in unicodedata.normalize("NFD", stroke) if not unicodedata.combining(c)) if lowered[0] < "\u0250" else lowered
    return {lowered, written_out, plain.replace("ß", "ss"), *_latin(lowered)}


def _latin(name: str) -> set[str]:
    """Latin spellings of a Cyrillic or Greek name in lower case; empty for others."""
    bare = "".join(c for c in unicodedata.normalize("NFD", name) if c != "\u0301")
    for table in (CYRILLIC, GREEK):
        if bare and all(c in table or c == "-" for c in unicodedata.normalize("NFC", bare)):
            spelled = "".join(table.get(c, c) for c in unicodedata.normalize("NFC", bare))
            return {spelled, spelled.replace("iy", "y").replace("yy", "y"), spelled.replace("ou", "u")}
    return set()


def _added(kind: str) -> Iterable[str]:
    for line in (RESOURCES / "names_added.txt").read_text(encoding="utf-8").splitlines():
        word, _, kinds = line.partition("\t")
        if kinds == kind:
            yield word


def _collect(prefix: str) -> set[str]:
    found: set[str] = set()
    for word in _added(prefix[0]):
        found |= _spellings(word) if len(word) >= MIN_LETTERS else {word.lower()}
    for module in pkgutil.iter_modules(person_providers.__path__):
        provider = importlib.import_module(f"{person_providers.__name__}.{module.name}").Provider
        for word in (word for value in _values(provider, prefix) for word in WORD.findall(value)):
            if len(word) >= MIN_LETTERS and word.lower() not in PARTICLES and not IDEOGRAPHS.search(word):
                found |= _spellings(word.strip("'\u2019-"))
    return {word for word in found if len(word) >= 2}


def _ordinary_words() -> set[str]:
    found: set[str] = set()
    for locale in WORD_LOCALES:
        provider = importlib.import_module(f"{lorem_providers.__name__}.{locale}").Provider
        found.update(word.lower() for word in provider.word_list)
        for words in getattr(provider, "parts_of_speech", {}).values():
            found.update(word.lower() for word in words)
    return {word for word in found if WORD.fullmatch(word)}


def _write(path: Path, lines: Iterable[str]) -> None:
    """Compressed without a time stamp, so that the same lists give the same bytes."""
    path.write_bytes(gzip.compress("\n".join(lines).encode(), compresslevel=9, mtime=0))


def _stop_words() -> Iterable[str]:
    """Function words by language from spaCy (MIT): its French package takes seconds to import, a list does not."""
    for language in STOP_WORD_LANGUAGES:
        for word in sorted(importlib.import_module(f"spacy.lang.{language}.stop_words").STOP_WORDS):
            yield f"{language}\t{word.lower()}"


def main() -> None:
    """Write three sorted lists, one entry a line.

    `names.txt.gz` holds `word TAB f|l|fl`, `stop_words.txt.gz` holds `language TAB word`, `ordinary.txt.gz` words alone.
    """
    first, last = _collect("first_name"), _collect("last_name")
    RESOURCES.mkdir(exist_ok=True)
    _write(RESOURCES / "names.txt.gz", (f"{name}\t{'f' * (name in first)}{'l' * (name in last)}" for name in sorted(first | last)))
    _write(RESOURCES / "stop_words.txt.gz", _stop_words())
    _write(RESOURCES / "ordinary.txt.gz", sorted(_ordinary_words()))


if __name__ == "__main__":
    main()
