"""Order of candidates: the weights, the document's lift, and independence from the engine's order."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.answer.ranking import LEXICAL_WEIGHT, PAGE_PRIOR, chunk_score, fuse
from app.domain.content import ChunkId, DocumentId
from app.domain.search import Candidate, Candidates


def candidate(name: str, lexical: float, cosine: float | None, *sentences: float) -> Candidate:
    return Candidate(ChunkId(name), DocumentId(name.split(".", maxsplit=1)[0]), 1, lexical, cosine, sentences, sentences)


def test_a_chunk_is_scored_by_its_words_its_cosine_and_its_best_sentence() -> None:
    expected = LEXICAL_WEIGHT * 1.5 + (1 - LEXICAL_WEIGHT) * (0.5 * 0.4 + 0.5 * 0.6)
    assert chunk_score(candidate("a.1.0", 1.5, 0.5, 0.2, 0.7), 0.1) == pytest.approx(expected)


def test_cosines_below_the_background_count_nothing_rather_than_against() -> None:
    assert chunk_score(candidate("a.1.0", 0.5, -0.3, -0.2), 0.1) == pytest.approx(LEXICAL_WEIGHT * 0.5)


def test_a_chunk_without_sentences_is_its_own_best_sentence() -> None:
    assert chunk_score(candidate("a.1.0", 0.0, 0.5), 0.1) == pytest.approx((1 - LEXICAL_WEIGHT) * 0.4)


def test_without_vectors_the_words_alone_decide() -> None:
    ranked = fuse(Candidates((candidate("a.1.0", 0.3, None), candidate("b.1.0", 0.9, None)), {}), 0.1)
    assert [one.document_id for one in ranked] == ["b", "a"]


def test_a_page_taken_in_a_second_ago_beats_weak_ones_that_have_vectors_already() -> None:
    """While vectors are pending its words alone stood for the new page: it held every word of the question and came fourth."""
    fresh = candidate("fresh.1.0", 0.95, None)
    weak = tuple(candidate(f"weak{n}.1.0", 0.1, 0.35, 0.4) for n in range(3))
    assert fuse(Candidates((*weak, fresh), {}), 0.08)[0].document_id == "fresh"


def test_a_pending_page_with_few_of_the_words_does_not_beat_a_good_one() -> None:
    pending, good = candidate("pending.1.0", 0.3, None), candidate("good.1.0", 0.6, 0.6, 0.7)
    assert [one.document_id for one in fuse(Candidates((pending, good), {}), 0.08)] == ["good", "pending"]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=8), st.lists(st.floats(-1, 1), min_size=8, max_size=8))
def test_what_stands_in_for_pending_vectors_changes_nothing_where_none_is_pending(words: list[float], cosines: list[float]) -> None:
    items = tuple(candidate(f"d{n}.1.0", lexical, cosine) for n, (lexical, cosine) in enumerate(zip(words, cosines, strict=False)))
    assert {one.chunk_id: one.score for one in fuse(Candidates(items, {}), 0.08)} == {one.chunk_id: chunk_score(one, 0.08) for one in items}


def test_further_good_chunks_lift_a_document() -> None:
    pair = (candidate("a.1.0", 1.0, None), candidate("a.1.1", 0.9, None))
    ranked = {one.chunk_id: one for one in fuse(Candidates((*pair, candidate("b.1.0", 1.05, None)), {}), 0.0)}
    assert ranked["a.1.0"].score == pytest.approx(LEXICAL_WEIGHT * (1.0 + PAGE_PRIOR * 0.9))
    assert ranked["a.1.0"].document_score == pytest.approx(LEXICAL_WEIGHT)
    assert ranked["a.1.1"].document_score == pytest.approx(LEXICAL_WEIGHT)
    assert ranked["a.1.0"].score > ranked["b.1.0"].score


def test_length_alone_does_not_lift_a_document() -> None:
    many = tuple(candidate(f"a.1.{n:02}", 0.5, None) for n in range(50))
    ranked = fuse(Candidates((*many, candidate("b.1.0", 0.7, None)), {}), 0.0)
    assert ranked[0].document_id == "b"


CANDIDATES = st.lists(st.tuples(st.integers(0, 4), st.floats(0, 2), st.none() | st.floats(-1, 1)), min_size=1, max_size=20).map(
    lambda rows: tuple(candidate(f"d{d}.1.{n}", lexical, cosine) for n, (d, lexical, cosine) in enumerate(rows))
)


@given(CANDIDATES, st.randoms(use_true_random=False))
def test_the_order_in_which_an_engine_returns_candidates_changes_nothing(items: tuple[Candidate, ...], shuffler: random.Random) -> None:
    mixed = list(items)
    shuffler.shuffle(mixed)
    assert fuse(Candidates(items, {}), 0.1) == fuse(Candidates(tuple(mixed), {}), 0.1)


@given(CANDIDATES)
def test_every_candidate_is_ranked_once_and_scores_fall(items: tuple[Candidate, ...]) -> None:
    ranked = fuse(Candidates(items, {}), 0.1)
    assert sorted(one.chunk_id for one in ranked) == sorted(item.chunk_id for item in items)
    assert all(first.score >= second.score for first, second in pairwise(ranked))
