"""Overlaps settle so that nothing found is left bare, and the stronger type names what both found."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.domain.privacy import Span
from app.privacy.lexicon import load_lexicon
from app.privacy.propagation import propagate
from app.privacy.resolver import STRENGTH, resolve
from app.privacy.segments import LIMIT, OVERLAP, split

TYPES = sorted([*STRENGTH, "NEVER_HEARD_OF"])


@st.composite
def findings(draw: st.DrawFn) -> tuple[str, list[Span]]:
    """A text and findings that overlap in every way, some outside the text."""
    text = draw(st.text(alphabet="ab 1.,-\n", max_size=40))
    edges = st.tuples(st.integers(-2, 42), st.integers(0, 12), st.sampled_from(TYPES), st.sampled_from([0.4, 0.6, 0.75, 0.99]))
    return text, [Span(a, a + n, kind, score) for a, n, kind, score in draw(st.lists(edges, max_size=14))]


@given(findings())
def test_result_is_sorted_disjoint_and_inside_the_text(case: tuple[str, list[Span]]) -> None:
    text, found = case
    spans = resolve(text, found)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert all(left.end <= right.start for left, right in pairwise(spans))


@given(findings())
def test_no_letter_or_digit_of_a_finding_is_left_bare(case: tuple[str, list[Span]]) -> None:
    """Presidio's own conflict rule drops the loser whole, and with it the characters only the loser had seen."""
    text, found = case
    covered = {i for span in resolve(text, found) for i in range(span.start, span.end)}
    wanted = {i for span in found for i in range(max(0, span.start), min(len(text), span.end)) if text[i].isalnum()}
    assert wanted <= covered


@given(findings())
def test_resolving_twice_changes_nothing(case: tuple[str, list[Span]]) -> None:
    text, found = case
    once = resolve(text, found)
    again = resolve(text, once)
    assert [(s.start, s.end) for s in again] == [(s.start, s.end) for s in once]


@given(findings(), st.randoms())
def test_order_of_findings_does_not_matter(case: tuple[str, list[Span]], rng: object) -> None:
    text, found = case
    shuffled = list(found)
    rng.shuffle(shuffled)
    assert resolve(text, shuffled) == resolve(text, found)


def test_a_mail_address_inside_a_web_address_keeps_its_type() -> None:
    text = "https://x.example/a?email=eve@corp.example&x=1"
    spans = resolve(text, [Span(0, len(text), "URL", 0.8), Span(26, 42, "EMAIL_ADDRESS", 0.95)])
    assert [(text[s.start : s.end], s.entity_type) for s in spans][1] == ("eve@corp.example", "EMAIL_ADDRESS")
    assert {s.entity_type for s in spans} == {"URL", "EMAIL_ADDRESS"}


def test_a_phone_number_inside_an_iban_is_the_iban() -> None:
    text = "DE89 3704 0044 0532 0130 00"
    assert [s.entity_type for s in resolve(text, [Span(5, 24, "PHONE_NUMBER", 0.8), Span(0, 27, "IBAN_CODE", 0.98)])] == ["IBAN_CODE"]


def test_neighbouring_parts_of_one_name_are_one_person() -> None:
    text = "Anna Müller"
    assert resolve(text, [Span(0, 4, "PERSON", 0.9), Span(5, 11, "PERSON", 0.7)]) == (Span(0, 11, "PERSON", 0.9),)


def test_a_surname_is_hidden_wherever_it_stands_but_ordinary_words_are_not() -> None:
    text = "Rose Kowalski came. KOWALSKI left, then Kowalski's car. A rose, a Rose bush."
    carried = {text[s.start : s.end] for s in propagate(text, (Span(0, 13, "PERSON", 0.9, "name_list"),), load_lexicon())}
    assert carried == {"Kowalski", "KOWALSKI"}


@given(st.text(alphabet="ab .\n", max_size=3 * LIMIT))
def test_segments_cover_the_text_and_overlap_at_unnatural_borders(text: str) -> None:
    segments = list(split(text))
    assert segments[0].start == 0
    assert segments[-1].end == len(text)
    for left, right in pairwise(segments):
        assert right.start == left.end if not left.is_cut_right else right.start == left.end - OVERLAP
        assert left.end - left.start <= LIMIT


def test_long_texts_are_cut_at_blank_lines_first() -> None:
    text = ("word " * 300 + "\n\n") * 4
    assert all(text[: s.end].endswith("\n\n") for s in split(text) if s.end < len(text))


@given(st.integers(0, 20_000))
def test_segments_of_one_line_always_advance(length: int) -> None:
    segments = list(split("x" * length))
    assert len(segments) <= 1 + length // (LIMIT - OVERLAP)
