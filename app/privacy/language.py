"""Which language a text is in, cheaply, by function words: enough to know whether the English model may read it.

Not a claim about the text: a hint to routing. Read per segment, so that a German letter inside an English thread is not read as English.
"""

import re
from collections import Counter

from app.privacy.lexicon import load_stop_words

UNKNOWN = "und"
"""ISO 639-3 for an undetermined language: rules and name list, no model."""
WORD = re.compile(r"[^\W\d_]+")
_EXTRA = {
    "de": "sehr geehrte geehrter ihre ihren ihr freundlichen grüßen bitte nicht wurde wurden herr frau mit läuft typ lieferung wohnhaft "
    "geboren wohnt straße nr und oder kundennummer personalakte",
    "fr": "bonjour merci cordialement madame monsieur né née demeurant contrat suis je mon numéro s'applique contient pièces veuillez "
    "salarié",
    "es": "el cliente llamen pide correo teléfono calle gracias saludos estimado estimada número nacido",
    "en": "please dear regards thanks hello hi name from to subject lives born call phone user team",
    "it": "gentile cordiali saluti nato nata residente",
    "nl": "geachte vriendelijke groet woont geboren",
}
_LISTS = {
    language: frozenset(word.lower() for word in words if len(word) > 1) | frozenset(_EXTRA.get(language, "").split())
    for language, words in load_stop_words().items()
}
_WEIGHTS: dict[str, dict[str, float]] = {}
for _language, _words in _LISTS.items():
    for _word in _words:
        _WEIGHTS.setdefault(_word, {})[_language] = 0.0
for _scores in _WEIGHTS.values():
    for _language in _scores:
        _scores[_language] = 1.0 / len(_scores)

SAMPLE = 400
"""Words looked at: the answer does not change after that."""
NOT_LATIN_SHARE = 0.5
MIN_WORDS = 2
MIN_SCORE = 1.0
MARGIN = 1.2


def guess(text: str, fallback: str = "en") -> str:
    """ISO 639-1 code of `text`; `fallback` when function words do not tell; `und` for scripts other than Latin."""
    words = [match.group().lower() for match, _ in zip(WORD.finditer(text), range(SAMPLE), strict=False)]
    letters = "".join(words)
    if letters and sum(character > "\u024f" and not "\u1e00" <= character <= "\u1eff" for character in letters) > NOT_LATIN_SHARE * len(
        letters
    ):
        return UNKNOWN
    scores: dict[str, float] = {}
    hits: Counter[str] = Counter()
    for word in words:
        for language, weight in _WEIGHTS.get(word, {}).items():
            scores[language] = scores.get(language, 0.0) + weight
            hits[language] += 1
    ranked = sorted(scores.items(), key=lambda item: -item[1])[:2]
    if not ranked or ranked[0][1] < MIN_SCORE or hits[ranked[0][0]] < MIN_WORDS:
        return fallback
    if len(ranked) > 1 and ranked[0][1] < MARGIN * ranked[1][1] and fallback in {ranked[0][0], ranked[1][0]}:
        return fallback
    return ranked[0][0]
