"""Chunks: their ranges, their sentences, what is repeated and what never grows."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.content import Block, BlockKind, ChunkedDocument, DocumentId, ParsedDocument
from app.errors import UnsupportedContentError
from app.ingest.chunking import CHUNK_CHARS, CHUNK_WORDS, chunk_document, embedding_text, sentence_texts
from app.ingest.parsers.registry import parse
from app.ingest.sentences import sentence_ranges

DOCUMENT = DocumentId("d1")


def chunked(*blocks: Block, title: str = "Leave policy") -> ChunkedDocument:
    return chunk_document(DOCUMENT, 1, ParsedDocument(title, blocks))


def paragraph(text: str, section: int = 0, headings: tuple[str, ...] = ()) -> Block:
    return Block(BlockKind.PARAGRAPH, text, section, headings)


def item(text: str, indent: int = 0) -> Block:
    return Block(BlockKind.ITEM, text, 0, (), indent)


def words(count: int, word: str = "leave") -> str:
    return " ".join([word] * count)


def assert_true_to_text(document: ChunkedDocument) -> None:
    for n, chunk in enumerate(document.chunks):
        assert chunk.ordinal == n
        assert chunk.chunk_id == f"d1.1.{n}"
        assert "\n".join(document.text[a:b] for a, b in chunk.ranges) == chunk.text
        assert all(a < b for a, b in chunk.ranges)
        assert list(chunk.ranges) == sorted(chunk.ranges)
        ends = 0
        for sentence in chunk.sentences:
            assert ends <= sentence.start < sentence.end <= len(chunk.text)
            assert chunk.text[sentence.start : sentence.end].strip() == chunk.text[sentence.start : sentence.end]
            ends = sentence.end


@st.composite
def parsed_documents(draw: st.DrawFn) -> ParsedDocument:
    """Documents of every kind of block, with repeated headings, long and short text, and sections in order."""
    line = st.text(st.sampled_from("abcé .:!?|Z9ß漢😀"), min_size=1, max_size=400).map(lambda t: " ".join(t.split()))
    blocks: list[Block] = []
    section = 0
    path: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    for _ in range(draw(st.integers(0, 25))):
        if draw(st.booleans()):
            section += 1
            path = tuple(draw(st.lists(st.sampled_from(["A", "B", "C D"]), max_size=3)))
        kind = draw(st.sampled_from(BlockKind))
        text = draw(line) * draw(st.sampled_from([1, 1, 1, 9]))
        header = tuple(text.split(" | ")) if kind is BlockKind.HEADER else header
        blocks.append(Block(kind, text, section, path, draw(st.integers(0, 6)), header if kind is BlockKind.ROW else ()))
    return ParsedDocument(draw(line) or "T", tuple(blocks))


@settings(max_examples=300, deadline=None)
@given(parsed_documents())
def test_every_chunk_is_its_ranges_of_the_document_text(parsed: ParsedDocument) -> None:
    assert_true_to_text(chunk_document(DOCUMENT, 1, parsed))


@settings(max_examples=200, deadline=None)
@given(parsed_documents())
def test_every_word_of_the_document_is_found_in_some_chunk(parsed: ParsedDocument) -> None:
    document = chunk_document(DOCUMENT, 1, parsed)
    covered = [False] * len(document.text)
    for chunk in document.chunks:
        for a, b in chunk.ranges:
            covered[a:b] = [True] * (b - a)
    headings = {h for block in parsed.blocks for h in block.headings}
    for line_start, line in _lines(document.text):
        if line not in headings:
            assert all(covered[line_start + i] for i, c in enumerate(line) if not c.isspace()), line


def _lines(text: str) -> list[tuple[int, str]]:
    found, at = [], 0
    for line in text.split("\n"):
        found.append((at, line))
        at += len(line) + 1
    return found


@settings(max_examples=200, deadline=None)
@given(parsed_documents())
def test_no_sentence_is_listed_twice_and_no_chunk_grows_past_its_bound(parsed: ParsedDocument) -> None:
    document = chunk_document(DOCUMENT, 1, parsed)
    places = [(chunk.ordinal, sentence.start) for chunk in document.chunks for sentence in chunk.sentences]
    assert len(places) == len(set(places))
    assert all(len(chunk.text) <= 2 * CHUNK_CHARS for chunk in document.chunks)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=600))
def test_sentences_cover_all_but_white_space_in_order(text: str) -> None:
    ranges = sentence_ranges(text)
    assert ranges == sorted(ranges)
    joined = "".join(text[a:b] for a, b in ranges)
    assert "".join(joined.split()) == "".join(text.split())


def test_a_table_repeats_its_header_row_in_each_chunk_and_embeds_cells_by_column() -> None:
    header = ("country", "weeks")
    rows = [Block(BlockKind.ROW, f"country {i} | {i} weeks", 0, (), 0, header) for i in range(60)]
    document = chunked(Block(BlockKind.HEADER, "country | weeks", 0, ()), *rows)
    assert len(document.chunks) > 1
    assert all(chunk.text.startswith("country | weeks\n") for chunk in document.chunks)
    assert sum(len(chunk.sentences) for chunk in document.chunks) == 60
    assert document.chunks[1].sentences[0].standalone.startswith("country: country ")
    assert_true_to_text(document)


def test_a_list_cut_in_two_repeats_its_lead_in_but_quotes_it_once() -> None:
    document = chunked(paragraph("You may take leave when:"), *(item(f"case {i} {words(20)}") for i in range(12)))
    assert len(document.chunks) > 1
    assert all(chunk.text.startswith("You may take leave when:") for chunk in document.chunks)
    quoted = [chunk.text[s.start : s.end] for chunk in document.chunks for s in chunk.sentences]
    assert quoted.count("You may take leave when:") == 1


def test_small_sections_join_their_neighbour_and_keep_their_headings_as_lines() -> None:
    one = paragraph("Ten days a year.", 1, ("Leave", "Study leave"))
    two = paragraph("Two days a year.", 2, ("Leave", "Moving house"))
    document = chunked(one, two)
    assert [chunk.text for chunk in document.chunks] == ["Study leave\nTen days a year.\nMoving house\nTwo days a year."]
    assert document.chunks[0].heading_path == ("Leave",)
    assert_true_to_text(document)


def test_sections_that_share_no_heading_stay_apart() -> None:
    one = paragraph("Ten days a year.", 1, ("Leave", "Study leave"))
    two = paragraph("Trains before planes.", 2, ("Travel", "Booking"))
    assert len(chunked(one, two).chunks) == 2


def test_a_sentence_knows_its_title_heading_and_lead_in() -> None:
    lead = Block(BlockKind.PARAGRAPH, "Bring to your first day:", 1, ("Onboarding",))
    first = Block(BlockKind.ITEM, "an identity card", 1, ("Onboarding",))
    nested = Block(BlockKind.ITEM, "or a passport", 1, ("Onboarding",), 2)
    sentences = chunked(lead, first, nested).chunks[0].sentences
    assert sentences[1].context == "Leave policy: Onboarding: Bring to your first day:"
    assert sentences[2].context == "Leave policy: Onboarding: an identity card"
    assert sentence_texts(sentences[2]) == ("Leave policy: Onboarding: an identity card\nor a passport", "or a passport")


def test_what_is_embedded_of_a_chunk_begins_with_title_and_headings() -> None:
    chunk = chunked(paragraph("Ten days.", 1, ("Leave", "Study"))).chunks[0]
    assert embedding_text("Policy", chunk) == "Policy > Leave > Study\nTen days."


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Ask HR, e.g. Monday. Then wait.", 2),
        ("Der Urlaub beginnt am 1. Januar 2025. Er endet am 3. Mai.", 2),
        ("Siehe Art. 17 Abs. 3 DSGVO. Das gilt z. B. Für Anträge, d. h. Immer.", 2),
        ("Mme Exemple écrit, p. ex. Lundi. Voir art. 5. Merci.", 3),
        ("The limit is 30. The rest is unpaid.", 2),
        ("„Nein.“ Dann ging er. « Oui. » Elle resta.", 4),
        ("Really?! Yes. No. 5 is open.", 3),
        ("", 0),
    ],
)
def test_sentences_end_where_a_reader_ends_them(text: str, count: int) -> None:
    assert len(sentence_ranges(text)) == count, [text[a:b] for a, b in sentence_ranges(text)]


HOSTILE = {
    "a line of a megabyte without a space": [paragraph("x" * 1_000_000)],
    "a megabyte of full stops": [paragraph(".)" * 500_000)],
    "a hundred thousand rows": [
        Block(BlockKind.HEADER, "id | name", 0, ()),
        *(Block(BlockKind.ROW, f"{i} | some name", 0, (), 0, ("id", "name")) for i in range(100_000)),
    ],
    "a header of five thousand columns over many rows": [
        Block(BlockKind.HEADER, " | ".join(f"c{i}" for i in range(5000)), 0, ()),
        *(Block(BlockKind.ROW, f"{i} | a", 0, (), 0, ("c" * 100_000, "d")) for i in range(5_000)),
    ],
    "a row of two hundred thousand cells": [Block(BlockKind.ROW, " | ".join(["a"] * 200_000), 0, (), 0, ("a", "b"))],
    "many items under a megabyte of parent": [item("word " * 200_000), *(item(f"i{i}", 2) for i in range(20_000))],
    "many sections under a long heading": [paragraph(f"Text {i}.", i, ("h" * 300, f"H{i}")) for i in range(20_000)],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_stay_linear_in_time_and_size(name: str) -> None:
    blocks = HOSTILE[name]
    started = time.process_time()
    document = chunked(*blocks)
    assert time.process_time() - started < 15
    size = sum(len(block.text) for block in blocks)
    assert sum(len(chunk.text) for chunk in document.chunks) <= 2 * size + CHUNK_CHARS
    assert max(len(chunk.text) for chunk in document.chunks) <= 2 * CHUNK_CHARS
    spread = sum(len(s.standalone) + len(s.context) for chunk in document.chunks for s in chunk.sentences)
    assert spread <= 20 * size + 700 * sum(len(chunk.sentences) for chunk in document.chunks)
    assert_true_to_text(document)


def test_an_empty_document_has_no_chunks() -> None:
    document = chunked()
    assert document.text == ""
    assert document.chunks == ()


def test_a_chunk_holds_about_a_hundred_and_twenty_words() -> None:
    document = chunked(*(paragraph(words(30) + ".") for _ in range(40)))
    assert {len(chunk.text.split()) for chunk in document.chunks} == {CHUNK_WORDS}


def test_the_handbook_yields_the_chunks_that_were_measured() -> None:
    """2,326 chunks and 13,167 sentences were measured by the study; fewer would mean lost text, far more a broken merge."""
    folder = handbook()
    chunks = sentences = pages = 0
    without_text: list[str] = []
    for path in sorted(folder.rglob("*.md")):
        try:
            parsed = parse(path.read_bytes(), "text/markdown", path.name)
        except UnsupportedContentError as refused:
            without_text.append(refused.detail)
            continue
        document = chunk_document(DOCUMENT, 1, parsed)
        assert_true_to_text(document)
        pages += 1
        chunks += len(document.chunks)
        sentences += sum(len(chunk.sentences) for chunk in document.chunks)
    assert (pages, len(without_text)) == (238, 8), "eight of the 246 files are redirects and includes without text"
    assert all("holds no text" in detail for detail in without_text)
    assert 2250 <= chunks <= 2400
    assert 13_000 <= sentences <= 13_500


def handbook() -> Path:
    root = Path(os.environ.get("PORTCULLIS_SHARED", str(Path(__file__).parents[2] / "../shared")))
    folder = root / "corpora" / "handbook"
    if folder.is_dir():
        return folder
    reason = "the handbook is not here: set PORTCULLIS_SHARED to the folder that holds corpora/handbook"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
