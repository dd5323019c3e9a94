"""Text to words and words to stems, the same way for documents and for questions. Pure; knows no document.

Stemming is Snowball (https://snowballstem.org) through PyStemmer, by the language of the document a word stands in.
"""

import re
import threading
import unicodedata
from collections.abc import Sequence

import Stemmer

from app.index.stop_words import STOP_WORDS

_WORD = re.compile(r"[^\W_]+")
_LONGEST = 64
"""Longer runs (hashes, base64) are cut, or one line of noise would fill the vocabulary with huge keys."""
_SNOWBALL = {
    "da": "danish", "de": "german", "en": "english", "es": "spanish", "fi": "finnish", "fr": "french", "it": "italian",
    "nl": "dutch", "no": "norwegian", "pt": "portuguese", "sv": "swedish",
}  # fmt: skip
LANGUAGES = tuple(_SNOWBALL)
"""Two-letter codes of the languages with a stemmer."""
_local = threading.local()


def clean(text: str) -> str:
    """Replace lone surrogates, which neither SQLite nor a tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def split_words(text: str) -> list[str]:
    """Words in order, compatibility-normalized and case-folded; punctuation and underscores separate."""
    return [word[:_LONGEST] for word in _WORD.findall(unicodedata.normalize("NFKC", clean(text)).casefold())]


def language_code(tag: str) -> str:
    """Reduce a language tag to the two letters stemmers go by: `en-US` to `en`; empty when unknown to us."""
    code = tag[:2].lower()
    return code if code in _SNOWBALL else ""


def stems(words: Sequence[str], language: str) -> list[str]:
    """Stems of case-folded words in a language (a two-letter code, or empty for none), without accents, in order."""
    if language not in _SNOWBALL:
        return [_unaccented(word) for word in words]
    return [_unaccented(stem) for stem in _stemmer(language).stemWords(list(words))]


def is_stop_word(word: str, language: str) -> bool:
    """Whether a case-folded word is too common to search for in this language."""
    return word in STOP_WORDS.get(language, frozenset())


def _stemmer(language: str) -> Stemmer.Stemmer:
    """Stemmer of this thread: PyStemmer objects hold a buffer and may not be shared between threads."""
    stemmers: dict[str, Stemmer.Stemmer] = _local.__dict__.setdefault("stemmers", {})
    if language not in stemmers:
        stemmers[language] = Stemmer.Stemmer(_SNOWBALL[language])
    return stemmers[language]


def _unaccented(word: str) -> str:
    if word.isascii():
        return word
    return "".join(letter for letter in unicodedata.normalize("NFKD", word) if not unicodedata.combining(letter))
