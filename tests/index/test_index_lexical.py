"""BM25 against the formula, counted over granted chunks only."""

import math
from pathlib import Path

import pytest
from tests_index_samples import READER, chunk, facts

from app.domain.search import IndexQuery
from app.index.embedded import EmbeddedIndex


async def indexed(path: Path, texts: dict[str, str], **hidden: str) -> EmbeddedIndex:
    index = EmbeddedIndex(path / "index.db")
    for name, text in texts.items():
        await index.put_version(facts(name), 1, [chunk(name, text)])
        await index.make_live(name, 1)
    for name, text in hidden.items():
        await index.put_version(facts(name, sensitivity=3), 1, [chunk(name, text)])
        await index.make_live(name, 1)
    return index


async def test_scores_are_bm25_divided_by_the_idf_sum_of_the_question(tmp_path: Path) -> None:
    texts = {"a": "leave leave policy", "b": "travel policy for staff abroad", "c": "leave calendar"}
    index = await indexed(tmp_path, texts, secret="leave leave leave moonlight")
    found = await index.search(IndexQuery("policy leaves unknownword", None, {}), READER)
    index.close()
    n, average = 3, 10 / 3

    def idf(df: int) -> float:
        return math.log(1 + (n - df + 0.5) / (df + 0.5))

    def part(df: int, tf: int, length: int) -> float:
        return idf(df) * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / average))

    total = idf(2) + idf(2) + idf(0)
    expected = {"a": (part(2, 1, 3) + part(2, 2, 3)) / total, "b": part(2, 1, 5) / total, "c": part(2, 1, 2) / total}
    assert {item.document_id: item.lexical for item in found.items} == pytest.approx(expected)
    assert found.term_weights == pytest.approx({"policy": idf(2), "leaves": idf(2), "unknownword": idf(0)})


async def test_stop_words_are_not_searched_for(tmp_path: Path) -> None:
    index = await indexed(tmp_path, {"a": "who is the one to ask", "b": "vendor"})
    found = await index.search(IndexQuery("who is the vendor", None, {}), READER)
    assert {item.document_id for item in found.items} == {"b"}
    assert set(found.term_weights) == {"vendor"}
    assert (await index.search(IndexQuery("who is it", None, {}), READER)).items == ()
    index.close()


async def test_a_list_is_cut_at_its_length_by_score_and_then_by_name(tmp_path: Path) -> None:
    index = await indexed(tmp_path, dict.fromkeys("dbace", "leave"))
    found = await index.search(IndexQuery("leave", None, {}, lexical_k=3), READER)
    index.close()
    assert [item.document_id for item in found.items] == ["a", "b", "c"]


async def test_words_repeated_beyond_a_byte_are_counted_as_a_full_byte(tmp_path: Path) -> None:
    index = await indexed(tmp_path, {"a": "leave " * 1000, "b": "leave"})
    found = await index.search(IndexQuery("leave", None, {}), READER)
    index.close()
    assert {item.document_id for item in found.items if item.lexical > 0} == {"a", "b"}
