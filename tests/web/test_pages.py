"""Every page renders from plain domain values, holds to the strict content policy and shows nothing it must not."""

import re
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.content import ChunkId
from app.domain.privacy import HiddenSpan
from app.web.rendering import answer_blocks, hidden_kinds, passage_lines, placed, short_digest, short_id, source_blocks
from app.web.streams import server_sent
from app.web.templating import FOLDER, STATIC, fragment
from tests.web.samples import ANSWER, CITATIONS, COMMON, EVENT, HOSTILE, PAGES, PASSAGE, READING, VIEWER, rendered, row, tree


def test_every_page_template_is_rendered_here() -> None:
    assert {p.name for p in (FOLDER / "templates").glob("*.html")} - {"base.html", "macros.html", "navigation.html"} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_pages_hold_to_the_content_policy(name: str) -> None:
    """Inline styles, handlers and scripts would need an unsafe policy, which is how stolen markup comes to life."""
    page = tree(rendered(name))
    for element in page.iter():
        if isinstance(element.tag, str):
            assert "style" not in element.attrib, element.tag
            assert not [a for a in element.attrib if a.startswith("on")], element.tag
            assert element.tag != "style"
            assert element.tag != "script" or (element.get("src") and not element.text)
    for address in page.xpath("//@href | //@src | //@action | //@hx-get | //@hx-post"):
        assert address.startswith(("/", "#")), address
        assert not address.startswith("//")


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_well_formed_for_assistive_tools(name: str) -> None:
    page = tree(rendered(name))
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids)), sorted(i for i in ids if ids.count(i) > 1)
    for attribute in ("aria-labelledby", "aria-describedby"):
        for value in page.xpath(f"//@{attribute}"):
            assert set(value.split()) <= set(ids), value
    for control in page.xpath("//input[not(@type='hidden')] | //textarea | //select"):
        assert control.getparent().tag == "label" or page.xpath(f"//label[@for='{control.get('id')}']"), control.attrib
    assert page.xpath("//a[@class='skip']/@href") == ["#main"]
    assert len(page.xpath("//main[@id='main']")) == 1
    assert len(page.xpath("//h1")) == 1
    levels = [int(h.tag[1]) for h in page.xpath("//main//*[self::h1 or self::h2 or self::h3]")]
    assert all(b - a <= 1 for a, b in pairwise(levels)), levels
    for button in page.xpath("//button"):
        assert button.text_content().strip() or button.get("aria-label")


@pytest.mark.parametrize("name", PAGES)
def test_icons_exist_and_forms_that_change_something_carry_the_token(name: str) -> None:
    sprite = (STATIC / "icons.svg").read_text(encoding="utf-8")
    page = tree(rendered(name))
    for address in page.xpath("//use/@href"):
        assert f'id="{address.split("#")[1]}"' in sprite, address
    for form in page.xpath("//form[@method='post']"):
        if not form.get("action").startswith("/demo-issuer"):
            assert form.xpath(".//input[@name='csrf_token']/@value") == ["t0k"], form.get("action")


def test_static_files_are_those_the_pages_name() -> None:
    for address in tree(rendered("ask.html")).xpath("//link/@href | //script/@src"):
        assert (STATIC / Path(address).name).is_file(), address
    notes = (STATIC / "vendored.txt").read_text(encoding="utf-8")
    for name in ("htmx.min.js", "htmx-sse.min.js"):
        assert sha256((STATIC / name).read_bytes()).hexdigest() in notes


def test_text_of_documents_questions_and_models_is_never_markup() -> None:
    passage = replace(PASSAGE, text=HOSTILE, title=HOSTILE, heading_path=(HOSTILE,), hidden=(), label=HOSTILE, language="en")
    answer = replace(ANSWER, question=HOSTILE, text=HOSTILE + "\n- " + HOSTILE, passages=(passage,), citations=())
    for name in ("answer.html", "closest.html", "refused.html"):
        page = tree(rendered(name, answer=answer))
        assert not page.xpath("//img")
        assert not page.xpath("//script[text()]")
        assert not page.xpath("//@onerror")
        assert HOSTILE in page.text_content()


def test_a_hidden_span_is_its_kind_and_nothing_else() -> None:
    """The text under a span may be a pseudonym: only the kind is printed, in no attribute and no comment."""
    text = "Ask PERSON_3fa9c1d2 today."
    span = HiddenSpan(4, 19, "PERSON")
    passage = replace(PASSAGE, text=text, hidden=(span,))
    page = rendered("answer.html", answer=replace(ANSWER, passages=(passage,), citations=()))
    assert "PERSON_3fa9c1d2" not in page
    assert "3fa9c1d2" not in page
    assert page.count('<span class="hidden-span">PERSON hidden</span>') == 2


def test_a_citation_mark_leads_to_its_quote_and_unknown_numbers_stay_text() -> None:
    page = tree(rendered("answer.html"))
    assert page.xpath("//a[@class='cite']/@href") == ["#quote-1", "#quote-2"]
    assert page.xpath("//mark[@id='quote-1']")[0].text_content() == "Leave is sixteen weeks."
    assert page.xpath("//mark[@id='quote-2']")[0].text_content() == "Ask "
    assert "See [9]." in page.text_content()
    assert page.xpath("//strong[text()='sixteen weeks']")


def test_verified_is_said_only_after_the_check_ran() -> None:
    assert "Verified" not in rendered("answer.html")
    assert "Verified" in rendered("answer.html", is_verified=True)


def test_a_sealed_answer_prints_its_reason_and_none_of_its_text() -> None:
    secret = row(**{**vars(READING), "sealed_because": "source_not_open", "text": "The secret."})
    page = rendered("history.html", current=row(conversation_id="c1", title="Old?", readings=[secret]))
    assert "source_not_open" in page
    assert "The secret" not in page
    assert "Parental leave" not in page


def test_the_refusal_reads_the_same_whatever_was_asked() -> None:
    one, other = (rendered("refused.html", answer=replace(ANSWER, question=q, text="", passages=())) for q in ("Aaa?", "Bbb?"))
    assert one.replace("Aaa?", "Bbb?") == other


def test_nothing_is_listed_from_the_log_before_a_case_is_given() -> None:
    page = rendered("log.html", entries=None, event=None)
    assert "<tbody>" not in page
    assert "a case and a reason" in page


def test_people_without_content_are_offered_no_question_box() -> None:
    page = rendered("officer.html", viewer=replace(VIEWER, reads=False))
    assert 'href="/ask"' not in page
    assert 'href="/log"' in page


def test_no_page_names_a_count_of_documents() -> None:
    assert not re.search(r"\b\d+ documents?\b", rendered("documents.html"))


def test_kinds_of_hidden_data_are_counted_over_what_is_shown_only() -> None:
    other = replace(PASSAGE, hidden=(HiddenSpan(0, 5, "PERSON"), HiddenSpan(6, 8, "PHONE_NUMBER")))
    kinds = hidden_kinds([PASSAGE, other])
    assert [(k.entity_type, k.count, tuple(one.place for one in k.passages)) for k in kinds] == [
        ("PERSON", 2, (1, 2)),
        ("PHONE_NUMBER", 1, (2,)),
    ]


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.sampled_from("ab \n[]1"), max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=5), st.data()
)
def test_lines_hold_all_shown_text_and_no_hidden_one(text: str, ranges: list[tuple[int, int]], data: st.DataObject) -> None:
    hidden = [HiddenSpan(min(r), max(r), "PERSON") for r in ranges if "\n" not in text[min(r) : max(r)]]
    disjoint: list[HiddenSpan] = []
    for span in sorted(hidden, key=lambda s: s.start):
        if span.start < span.end <= len(text) and (not disjoint or disjoint[-1].end <= span.start):
            disjoint.append(span)
    start = data.draw(st.integers(0, len(text)))
    quote = replace(CITATIONS[0], start=start, end=data.draw(st.integers(start, len(text))))
    shown = text
    for span in reversed(disjoint):
        shown = shown[: span.start] + shown[span.end :]
    lines = passage_lines(text, disjoint, [quote])
    assert "".join(p.text for line in lines for p in line) == shown.replace("\n", "")
    assert sum(bool(p.hidden) for line in lines for p in line) == len(disjoint)
    assert sum(bool(p.anchor) for line in lines for p in line) <= 1


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab*[]12 \n-P"), max_size=80))
def test_any_answer_text_becomes_blocks_without_losing_words(text: str) -> None:
    shown = "".join(
        p.text or (f"[{p.cite}]" if p.cite else "") for block in answer_blocks(text, {1, 2}) for line in block.lines for p in line
    )
    assert re.sub(r"[\s*-]", "", shown) == re.sub(r"[\s*-]", "", text) or re.search(r"^\s*\d{1,2}[.)]\s", text, re.MULTILINE)


def test_digests_are_shortened_in_the_middle_only() -> None:
    assert short_digest("sha256:" + "ab" * 32) == "sha256:abababab … abab"
    assert short_digest("abc") == "abc"


def test_ids_are_shortened_to_their_kind_and_random_end() -> None:
    assert short_id("doc_01a211cf-3ea2-7704-a5ff-6cc458de3e50") == "doc_… 58de3e50"
    assert short_id("doc_none") == "doc_none"


def test_an_entry_shows_its_proof_and_everything_it_is_about() -> None:
    page = tree(rendered("log.html", entries=None, event=EVENT))
    assert page.xpath("//aside[@id='event']//dd/a/@href") == ["/log?document=doc_1"]
    assert page.xpath("//a[@download]/@href") == ["/log/e1/proof?case_id=SEC-1"]
    assert page.xpath("//ol[@class='proof']/li")


def test_quoted_passages_come_first_and_carry_the_numbers_of_their_marks() -> None:
    """A passage used to wear its place in the list, which looked like a mark's number and was another one."""
    other = replace(PASSAGE, passage_id=ChunkId("d1.2.1"))
    assert [(one.place, one.marks) for one in placed([other, PASSAGE], CITATIONS)] == [(2, (1, 2)), (1, ())]
    page = tree(rendered("answer.html", answer=replace(ANSWER, passages=(other, PASSAGE))))
    assert page.xpath("//details[@class='passage']/@id") == ["passage-2", "passage-1"]
    assert page.xpath("//details[@id='passage-2']//summary/span[@class='tag']")[0].text_content() == "quoted as 1, 2"
    assert not page.xpath("//details[@id='passage-1']//summary/span[@class='tag']")


def test_a_question_handed_over_in_the_address_stands_in_the_box() -> None:
    page = tree(rendered("ask.html", question=HOSTILE))
    assert page.xpath("//textarea/text()") == [HOSTILE]


def test_the_text_of_a_document_cannot_begin_an_event_of_the_stream() -> None:
    """A lone carriage return ends a line of a stream too: text after it would have been read as a field."""
    lines = server_sent("passage", "a\revent: finished\r\ndata: b\nc").decode()
    assert lines == "event: passage\ndata: a\ndata: event: finished\ndata: data: b\ndata: c\n\n"


def test_a_refusal_in_a_stream_is_named_so_and_a_failure_otherwise() -> None:
    common = {**COMMON, "question": "How?", "detail": "No.", "request_id": "r1", "conversation_id": ""}
    denied, failed = (fragment("parts/failed.html", **common, is_denied=one) for one in (True, False))
    assert "Refused. No." in denied
    assert "banner-bad" not in denied
    assert "Not answered. No." in failed
    assert 'role="alert"' in denied


def test_rows_of_a_table_are_cells_and_a_lone_line_with_a_bar_is_not() -> None:
    """A row that was quoted used to run into the next one, bars and all."""
    text = "Hotels:\nParis | 170 | 58 [1]\nLondon | [PERSON hidden] | 66\nls | wc"
    blocks = answer_blocks(text, {1})
    assert [bool(block.rows) for block in blocks] == [False, True, False]
    assert [["".join(piece.text for piece in cell) for cell in cells] for cells in blocks[1].rows] == [
        ["Paris", "170", "58"],
        ["London", "", "66"],
    ]
    assert blocks[1].rows[0][2][-1].cite == 1
    assert blocks[1].rows[1][1][0].hidden == "PERSON"
    source = "Paris | 170\nLondon | 150"
    quoted = passage_lines(source, (), [replace(CITATIONS[0], start=0, end=len(source))])
    anchors = [piece.anchor for cells in source_blocks(quoted)[0].rows for cell in cells for piece in cell]
    assert anchors == ["quote-1", "", "", ""]
