"""Quotes: verbatim, few, short, and never joined across what does not belong together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answer.answer_types import Match, asked_by
from app.answer.quotes import MOST_CHARACTERS, MOST_QUOTES, QuotablePassage, choose_quotes, confidence, evidence_state
from app.answer.ranking import RankedChunk
from app.domain.content import ChunkId, DocumentId, EvidenceState
from app.domain.search import Calibration, Candidate

CALIBRATION = Calibration(slope=4.5, midpoint=1.45, weak=0.15, found=0.3)


def passage(text: str, *cosines: float, sentences: tuple[tuple[int, int], ...] | None = None, score: float = 0.5) -> QuotablePassage:
    ranges = sentences if sentences is not None else lines(text)
    given_cosines = cosines or (0.5,) * len(ranges)
    item = Candidate(ChunkId("d.1.0"), DocumentId("d"), 1, 0.5, 0.6, given_cosines, given_cosines)
    return QuotablePassage(RankedChunk(item, score, score), text, ranges, "Leave policy", "en")


def lines(text: str) -> tuple[tuple[int, int], ...]:
    ranges, start = [], 0
    for line in text.split("\n"):
        ranges.append((start, start + len(line)))
        start += len(line) + 1
    return tuple(ranges)


def said(passages: list[QuotablePassage], question: str = "what applies", **weights: float) -> list[str]:
    chosen = choose_quotes(question, weights, passages)
    return [passages[quote.passage].text[quote.start : quote.end] for quote in chosen.quotes]


def test_the_sentence_that_matches_best_comes_first() -> None:
    text = "Ask your supervisor before you travel.\nParental leave lasts twelve weeks in all cases."
    assert said([passage(text, 0.1, 0.9)])[0].endswith("in all cases.")


def test_neighbours_join_into_one_quote() -> None:
    text = "Parental leave lasts twelve weeks in all.\nIt may be taken in two parts if agreed.\nThe canteen opens at noon every day."
    assert said([passage(text, 0.9, 0.8, 0.1)])[0].startswith("Parental leave lasts twelve weeks in all.\nIt may be taken")


def test_sentences_with_a_heading_between_them_stay_apart() -> None:
    text = "Parental leave lasts twelve weeks in all.\nTravel\nFlights are booked by the travel office."
    first, last = lines(text)[0], lines(text)[2]
    assert len(said([passage(text, 0.9, 0.8, sentences=(first, last))])) == 2


def test_a_sentence_over_the_limit_is_cut_at_a_word() -> None:
    text = "word " * 400
    quotes = said([passage(text.strip())])
    assert len(quotes) == 1
    assert len(quotes[0]) <= MOST_CHARACTERS
    assert quotes[0].endswith("word")


def test_two_sentences_that_show_one_replacement_are_not_quoted_twice() -> None:
    """A hidden span across a sentence's end maps both sentences onto the same marker."""
    text = "Call <PERSON> before noon on any working day."
    found = choose_quotes("who", {}, [passage(text, sentences=((0, 13), (5, 45)))])
    ranges = [(quote.start, quote.end) for quote in found.quotes]
    assert all(a[1] <= b[0] or b[1] <= a[0] for n, a in enumerate(ranges) for b in ranges[n + 1 :])
    assert found.quotes


def test_a_sentence_of_the_asked_kind_wins_over_an_equal_one() -> None:
    text = "Leave requests go through the portal as usual.\nThe canteen is on the ground floor.\nLeave lasts 12 weeks at the very most."
    assert said([passage(text, 0.5, 0.2, 0.5)], "how long is leave")[0].endswith("at the very most.")


def test_covered_words_of_the_question_count_by_their_weight() -> None:
    text = "The frobnicator must be returned at the end.\nSomething else entirely different is told here."
    assert said([passage(text, 0.5, 0.5)], frobnicators=5.0)[0].startswith("The frobnicator")


def test_nothing_to_quote_gives_no_quote_and_no_evidence() -> None:
    assert choose_quotes("what", {}, []).quotes == ()
    empty = choose_quotes("what", {}, [passage("", sentences=())])
    assert (empty.quotes, empty.raw, empty.best) == ((), 0.0, None)


def test_without_vectors_covered_words_are_the_evidence() -> None:
    item = Candidate(ChunkId("d.1.0"), DocumentId("d"), 1, 0.9, None)
    text = "Parental leave lasts twelve weeks in all cases."
    words_only = QuotablePassage(RankedChunk(item, 0.2, 0.2), text, lines(text), "Leave policy", "en")
    whole = choose_quotes("parental leave", {"parental": 2.0, "leave": 1.0}, [words_only])
    none = choose_quotes("dog licence", {"dog": 2.0, "licence": 1.0}, [words_only])
    assert evidence_state(confidence(whole.raw, CALIBRATION), CALIBRATION) is EvidenceState.FOUND
    assert evidence_state(confidence(none.raw, CALIBRATION), CALIBRATION) is EvidenceState.NOTHING


def test_confidence_rises_with_evidence_and_stays_between_nought_and_one() -> None:
    values = [confidence(raw, CALIBRATION) for raw in (-1e9, 0.0, 1.0, 1.45, 2.0, 1e9)]
    assert values == sorted(values)
    assert values[3] == pytest.approx(0.5)
    assert 0.0 <= values[0] < 1e-6 < 1 - 1e-6 < values[-1] <= 1.0
    states = [evidence_state(value, CALIBRATION) for value in (0.1, 0.2, 0.3)]
    assert states == [EvidenceState.NOTHING, EvidenceState.WEAK, EvidenceState.FOUND]


@st.composite
def passages(draw: st.DrawFn) -> list[QuotablePassage]:
    """Any text with any sorted ranges in it, overlapping ones included, as rendering may make them."""
    made = []
    for _ in range(draw(st.integers(0, 4))):
        text = draw(st.text(st.sampled_from("ab .\n<>\u00e9\U0001f600"), max_size=900))
        points = draw(st.lists(st.tuples(st.integers(0, len(text)), st.integers(0, len(text))), max_size=8))
        ranges = tuple(sorted((min(pair), max(pair)) for pair in points))
        cosines = tuple(draw(st.lists(st.floats(-1, 1), min_size=len(ranges), max_size=len(ranges))))
        made.append(passage(text, *cosines, sentences=ranges))
    return made


@given(passages(), st.text(max_size=40))
def test_quotes_are_always_few_short_disjoint_and_inside_their_passage(given_passages: list[QuotablePassage], question: str) -> None:
    found = choose_quotes(question, {"ab": 1.0}, given_passages)
    assert len(found.quotes) <= MOST_QUOTES
    assert sum(quote.end - quote.start for quote in found.quotes) <= MOST_CHARACTERS
    for quote in found.quotes:
        assert 0 <= quote.start < quote.end <= len(given_passages[quote.passage].text)
    assert found == choose_quotes(question, {"ab": 1.0}, given_passages)


@pytest.mark.parametrize(
    ("question", "text", "expected"),
    [
        ("How long is the notice?", "Give two weeks of notice.", Match.PRESENT),
        ("How long is the notice?", "Give notice to HR.", Match.ABSENT),
        ("Wie lange ist die Frist?", "Die Frist beträgt vier Wochen.", Match.PRESENT),
        ("Wie lange ist die Frist?", "Die Frist steht im Vertrag.", Match.ABSENT),
        ("Combien de jours de congé ?", "Vous avez droit à 25 jours.", Match.PRESENT),
        ("How much does it cost?", "The fee is $40.", Match.PRESENT),
        ("Was kostet das?", "Die Gebühr beträgt 40 €.", Match.PRESENT),
        ("When is it due?", "By March 3.", Match.PRESENT),
        ("Wann ist die Abgabe?", "Am 3. März.", Match.PRESENT),
        ("Who approves it?", "Your supervisor does.", Match.PRESENT),
        ("Who approves it?", "It is approved in a day.", Match.ABSENT),
        ("Is it allowed?", "Yes.", Match.NOTHING_ASKED),
    ],
)
def test_the_kind_of_thing_asked_for_is_recognized(question: str, text: str, expected: Match) -> None:
    assert asked_by(question).match(text) is expected
