"""Vectors: exact neighbours, and cosines whose bits do not depend on their company."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests_index_samples import facts

from app.domain.access import WholeTenant
from app.domain.content import ChunkId, DocumentId
from app.domain.identity import TenantId
from app.domain.search import SearchLimits
from app.index.access_register import AccessRegister
from app.index.nearest import exact_cosines, nearest_chunks, pack_sentences, sentence_cosines
from app.index.segment import ChunkRecord, LiveSegment, build_segment
from app.index.snapshot import Grant, Snapshot

DIM = 384


def unit(seed: int, n: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def grant_of(*batches: np.ndarray, names: list[str] | None = None) -> Grant:
    """One document; a segment per batch of vectors; every chunk granted."""
    access = AccessRegister().change({0: (DocumentId("d"), facts("d"))})
    count, segments = 0, []
    for batch in batches:
        records = []
        for vector in batch:
            name = names[count] if names else f"c{count:05}"
            records.append(ChunkRecord(0, count, 1, ChunkId(name), "word", b"\x01", 1, "", vector.tobytes()))
            count += 1
        segment = build_segment(records, DIM)
        columns = access.columns
        segments.append(LiveSegment(segment, np.ones(len(segment), np.bool_), columns.language[segment.slot], columns.pair[segment.slot]))
    snapshot = Snapshot(1, DIM, access, tuple(segments))
    return snapshot.grant(WholeTenant(TenantId("acme")), SearchLimits())


def test_neighbours_are_those_of_an_exact_scan() -> None:
    rows, question = unit(1, 3000), unit(2, 1)[0]
    grant = grant_of(rows[:700], rows[700:2500], rows[2500:])
    exact = np.argsort(-(rows.astype(np.float64) @ question.astype(np.float64)))[:50]
    found = nearest_chunks(grant, question, 50)
    assert [grant.parts[part].segment.chunk_ids[row] for part, row in found] == [f"c{n:05}" for n in exact]


def test_equal_vectors_are_ranked_by_name_not_by_place() -> None:
    """Where a chunk lies depends on what else is stored, so a tie broken by place would tell of hidden documents."""
    rows = np.repeat(unit(3, 1), 6, axis=0)
    grant = grant_of(rows[:2], rows[2:], names=["f", "b", "e", "a", "d", "c"])
    found = nearest_chunks(grant, unit(4, 1)[0], 3)
    assert [grant.parts[part].segment.chunk_ids[row] for part, row in found] == ["a", "b", "c"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40), st.integers(0, 39))
def test_a_cosine_has_the_same_bits_alone_and_in_company(seed: int, n: int, pick: int) -> None:
    rows, question = unit(seed, n), unit(seed + 1, 1)[0]
    pick %= n
    together = exact_cosines(grant_of(rows), question, [(0, row) for row in range(n)])
    alone = exact_cosines(grant_of(rows[pick : pick + 1]), question, [(0, 0)])
    assert together[pick] == alone[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 30), st.integers(0, 29))
def test_a_sentence_cosine_has_the_same_bits_alone_and_in_company(seed: int, n: int, pick: int) -> None:
    rows, question = unit(seed, n), unit(seed + 1, 1)[0]
    pick %= n
    together = sentence_cosines([pack_sentences(rows)], question)[0]
    alone = sentence_cosines([pack_sentences(rows[pick : pick + 1])], question)[0]
    assert together[pick] == alone[0]
    assert abs(alone[0] - float(rows[pick] @ question)) < 0.01


def test_chunks_without_sentences_have_no_sentence_cosines() -> None:
    packed = [pack_sentences(np.zeros((0, DIM), np.float32)), pack_sentences(unit(1, 2))]
    assert [len(cosines) for cosines in sentence_cosines(packed, unit(2, 1)[0])] == [0, 2]
