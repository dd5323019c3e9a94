"""Which sentences answer a question: at most three quotes and 600 characters out of passages already re-checked and rendered.

Everything here works on rendered text, so a quote cannot hold what its viewer may not see. Pure. The weights come from the handbook
study (docs/retrieval.md); more signals and learned weights were tried and were worse.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.answer.answer_types import asked_by
from app.answer.ranking import RankedChunk
from app.domain.content import EvidenceState
from app.domain.search import Calibration
from app.index.words import language_code, split_words, stems

MOST_QUOTES = 3
MOST_CHARACTERS = 600
_TOP_PASSAGES = 20
_TOP_SENTENCES = 40
_CONTEXT_WEIGHT = 0.3
_STANDALONE_WEIGHT = 0.3
_COVERAGE_WEIGHT = 0.1
_TYPE_WEIGHT = 0.1
_SHORT_CHARACTERS = 25
_SHORT_PENALTY = 0.1
"""A heading-like scrap matches a question's words well and answers nothing."""
_PENDING_COSINE = 0.6
"""What a sentence that holds all the question's words is taken to have for a cosine while its vectors are pending and others' are there."""
_WORDS_ONLY_BASE = 0.7
"""Without vectors evidence is this plus coverage, so that three quarters of the question's words found count as half sure."""


@dataclass(frozen=True, slots=True)
class QuotablePassage:
    """One passage as its viewer sees it. `sentences` are ranges of `text`, in order; `around` is its rendered title and headings."""

    ranked: RankedChunk
    text: str
    sentences: tuple[tuple[int, int], ...]
    around: str
    language: str


@dataclass(frozen=True, slots=True)
class Quote:
    """`text[start:end]` of passage number `passage`, counted from 0."""

    passage: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Quotes:
    """Quotes in order of weight. `raw` is the strength of the evidence before calibration; `best` is the best single sentence."""

    quotes: tuple[Quote, ...]
    raw: float
    best: Quote | None


@dataclass(frozen=True, slots=True)
class _Scored:
    score: float
    passage: int
    sentence: int
    coverage: float


def choose_quotes(question: str, term_weights: Mapping[str, float], passages: Sequence[QuotablePassage]) -> Quotes:
    """Choose what to quote. `passages` are in ranked order; `term_weights` is idf by question word.

    Quotes are verbatim ranges of the rendered texts, disjoint, and never joined across anything but white space.
    """
    top = passages[:_TOP_PASSAGES]
    scored = sorted(_scored(question, term_weights, top), key=lambda one: (-one.score, one.passage, one.sentence))
    if not scored:
        return Quotes((), 0.0, None)
    first = scored[0]
    start, end = top[first.passage].sentences[first.sentence]
    cosines = [passage.ranked.candidate.cosine for passage in top if passage.ranked.candidate.cosine is not None]
    if cosines and top[first.passage].ranked.candidate.cosine is None:
        cosines.append(_PENDING_COSINE * first.coverage)
    raw = first.score + max(cosines) if cosines else _WORDS_ONLY_BASE + max(one.coverage for one in scored)
    return Quotes(tuple(_walk(scored, top)), raw, Quote(first.passage, start, end))


def confidence(raw: float, calibration: Calibration) -> float:
    """Give evidence as a probability-like number in 0..1 that an answer stands in the quotes."""
    return 1.0 / (1.0 + math.exp(min(60.0, max(-60.0, -calibration.slope * (raw - calibration.midpoint)))))


def evidence_state(value: float, calibration: Calibration) -> EvidenceState:
    """Name how strong evidence of a confidence is."""
    if value >= calibration.found:
        return EvidenceState.FOUND
    return EvidenceState.WEAK if value >= calibration.weak else EvidenceState.NOTHING


def _scored(question: str, term_weights: Mapping[str, float], passages: Sequence[QuotablePassage]) -> Iterator[_Scored]:
    asked = asked_by(question)
    has_vectors = any(passage.ranked.candidate.cosine is not None for passage in passages)
    for number, passage in enumerate(passages):
        words_of = [split_words(passage.text[start:end]) for start, end in passage.sentences]
        around = split_words(passage.around)
        question_stems, stem_of = _stems_held(term_weights, [around, *words_of], passage.language)
        candidate = passage.ranked.candidate
        base = 0.5 * (passage.ranked.score + passage.ranked.document_score)
        for sentence, (start, end) in enumerate(passage.sentences):
            text = passage.text[start:end]
            if not text.strip():
                continue
            coverage = _coverage(question_stems, {stem_of[word] for word in (*around, *words_of[sentence]) if word in stem_of})
            missing = _PENDING_COSINE * coverage if has_vectors and candidate.cosine is None else 0.0
            context = candidate.sentence_cosines[sentence] if sentence < len(candidate.sentence_cosines) else missing
            standalone = candidate.standalone_cosines[sentence] if sentence < len(candidate.standalone_cosines) else missing
            score = base + _CONTEXT_WEIGHT * context + _STANDALONE_WEIGHT * standalone + _COVERAGE_WEIGHT * coverage
            score += _TYPE_WEIGHT * asked.match(text) - _SHORT_PENALTY * (len(text) < _SHORT_CHARACTERS)
            yield _Scored(score, number, sentence, coverage)


def _stems_held(
    term_weights: Mapping[str, float], texts: Sequence[Sequence[str]], language: str
) -> tuple[list[tuple[str, float]], dict[str, str]]:
    """Stems of the question with their idf, and those of the words of `texts` that have one of them, by word; each word is stemmed once."""
    code = language_code(language)
    question_stems = list(zip(stems(list(term_weights), code), term_weights.values(), strict=True))
    wanted = {stem for stem, _ in question_stems}
    distinct = list({word for words in texts for word in words})
    return question_stems, {word: stem for word, stem in zip(distinct, stems(distinct, code), strict=True) if stem in wanted}


def _coverage(question_stems: Sequence[tuple[str, float]], held: set[str]) -> float:
    """Share of the question's idf whose words are held, 0..1."""
    total = sum(weight for _, weight in question_stems)
    return sum(weight for stem, weight in question_stems if stem in held) / total if total else 0.0


def _walk(scored: Sequence[_Scored], passages: Sequence[QuotablePassage]) -> list[Quote]:
    """Take sentences in order of score while they fit; a neighbour of a chosen sentence extends its quote."""
    runs: list[tuple[int, int, int]] = []
    for one in scored[:_TOP_SENTENCES]:
        if any(passage == one.passage and first <= one.sentence <= last for passage, first, last in runs):
            continue
        place = next((n for n, run in enumerate(runs) if _touches(run, one, passages)), None)
        new = (one.passage, one.sentence, one.sentence) if place is None else _extended(runs[place], one.sentence)
        others = [run for n, run in enumerate(runs) if n != place]
        if (place is None and len(runs) == MOST_QUOTES) or sum(_size(run, passages) for run in [*others, new]) > MOST_CHARACTERS:
            continue
        if place is None:
            runs.append(new)
        else:
            runs[place] = new
    quotes = [Quote(passage, passages[passage].sentences[first][0], passages[passage].sentences[last][1]) for passage, first, last in runs]
    return _disjoint(quotes) if quotes else [_cut(scored[0], passages)]


def _touches(run: tuple[int, int, int], one: _Scored, passages: Sequence[QuotablePassage]) -> bool:
    """Whether a sentence stands next to a run with nothing but white space between."""
    passage, first, last = run
    if passage != one.passage or one.sentence not in (first - 1, last + 1):
        return False
    ranges, text = passages[passage].sentences, passages[passage].text
    left, right = (one.sentence, first) if one.sentence < first else (last, one.sentence)
    return ranges[right][0] >= ranges[left][1] and not text[ranges[left][1] : ranges[right][0]].strip()


def _extended(run: tuple[int, int, int], sentence: int) -> tuple[int, int, int]:
    return run[0], min(run[1], sentence), max(run[2], sentence)


def _size(run: tuple[int, int, int], passages: Sequence[QuotablePassage]) -> int:
    ranges = passages[run[0]].sentences
    return ranges[run[2]][1] - ranges[run[1]][0]


def _disjoint(quotes: Sequence[Quote]) -> list[Quote]:
    """Drop a quote that overlaps an earlier one: two sentences cut by one hidden span show the same replacement."""
    kept: list[Quote] = []
    for quote in quotes:
        if not any(quote.passage == other.passage and quote.start < other.end and other.start < quote.end for other in kept):
            kept.append(quote)
    return kept


def _cut(best: _Scored, passages: Sequence[QuotablePassage]) -> Quote:
    """Quote the beginning of a sentence that alone is over the limit, up to a word's end."""
    start, end = passages[best.passage].sentences[best.sentence]
    piece = passages[best.passage].text[start : min(end, start + MOST_CHARACTERS)]
    shorter = piece.rsplit(None, 1)[0] if len(piece.split()) > 1 and end - start > MOST_CHARACTERS else piece
    return Quote(best.passage, start, start + len(shorter))
