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


CANDIDATES = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0, 2), st.none() | st.floats(-1, 1)), min_size=1, max_size=20
).map(lambda rows: tuple(candidate(f"d{d}.1.{n}", lexical, cosine) for n, (d, lexical, cosine) in enumerate(rows)))


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
