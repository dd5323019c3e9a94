"""Text written to break a detector: time, memory, offsets and the network must hold whatever comes in."""

import random
import socket
import time
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.privacy.detector import Detector
from app.privacy.rendering import render

SLOW = {
    "at signs": "a@" * 25_000,
    "dashed ones": "1-" * 25_000,
    "blanks after a label": "address:" + " " * 50_000,
    "digits": "7" * 10_000,
    "spaced digits": "7 " * 25_000,
    "password is": "password is " * 4_200,
    "dots": "a." * 25_000,
    "capitals": "Aa " * 17_000,
    "street words": "1 Street " * 5_500,
    "colons": ":" * 50_000,
    "hex and colons": "a:" * 25_000,
    "key headers": "-----BEGIN PRIVATE KEY-----" * 1_900,
    "tokens": "eyJaaaaaaaa." * 4_200,
    "urls": "http://" * 7_200,
    "iban starts": "DE12" * 12_500,
    "table": "name," * 10_000 + "\n" + "a," * 10_000,
    "names": "Anna Müller, " * 3_900,
    "honorifics": "Mr. " * 12_500,
    "months": "1 May " * 8_400,
    "backslashes": "\\" * 50_000,
    "plus signs": "+1" * 25_000,
    "zero width": "a\u200b" * 25_000 + "@x.example",
    "quotes": 'password="' * 5_000,
    "line breaks": "\n" * 50_000,
    "apartments": "1 a Apt. " * 5_500,
    "brackets": "([{<" * 12_500,
}
WARM_CHARACTERS_PER_S = 16_000
"""A third of what plain prose runs at on one core: the bound is on growth, not on the machine."""


@pytest.mark.parametrize("name", SLOW)
def test_hostile_repetition_costs_no_more_than_its_length(detector: Detector, name: str) -> None:
    text = SLOW[name]
    started = time.process_time()
    detector.analyze(text)
    assert time.process_time() - started < max(1.0, len(text) / WARM_CHARACTERS_PER_S)


def test_a_megabyte_on_one_line_is_analysed_whole(detector: Detector) -> None:
    """One-line exports are common; the last value must be found like the first, at the right offset."""
    filler = "the quarterly figures were stable and the plan remains as agreed with everyone involved "
    text = "mail first@corp.example " + filler * 11_500 + "mail last@corp.example"
    assert len(text) > 1_000_000
    found = [text[s.start : s.end] for s in detector.analyze(text).spans if s.entity_type == "EMAIL_ADDRESS"]
    assert found == ["first@corp.example", "last@corp.example"]


@pytest.mark.parametrize("shift", range(0, 260, 13))
def test_a_value_on_a_segment_border_is_found_whole(detector: Detector, shift: int) -> None:
    filler = "we agreed on the plan and on the dates of it "
    prefix = (filler * 60)[: 2300 + shift]
    text = prefix + "call Marie-Claire Dubois on +49 (0)89 123-4567 " + filler * 40
    rendered = render(text, detector.analyze(text).spans, frozenset()).text
    assert "Dubois" not in rendered
    assert "123-4567" not in rendered


@pytest.mark.parametrize(
    "text",
    [
        "Anna\0 Müller, anna@corp.example",
        "lone \ud800 surrogate anna@corp.example \udfff",
        "😀😀 anna@corp.example 👩‍👩‍👧",
        "\u202eelpmaxe.proc@anna anna@corp.example",
        "e\u0301\u0301\u0301 anna@corp.example",
        "\ufeffanna@corp.example",
        "שלום anna@corp.example مرحبا",
        "𝐀𝐧𝐧𝐚 anna@corp.example",
        "\r\n\r\nanna@corp.example\r\n",
    ],
)
def test_offsets_are_code_points_of_the_text_as_given(detector: Detector, text: str) -> None:
    mails = [s for s in detector.analyze(text).spans if s.entity_type == "EMAIL_ADDRESS"]
    assert any("anna@corp.example" in text[s.start : s.end] for s in mails)
    assert "anna@corp.example" not in render(text, detector.analyze(text).spans, frozenset()).text


@pytest.mark.parametrize("mark", ["\u200b", "\u00ad", "\u2060", "\u200d"])
def test_invisible_characters_hide_nothing_from_the_detector(detector: Detector, mark: str) -> None:
    """A zero-width space inside a name or a mail address once was a way past redaction that no reader could see."""
    text = f"Ask Anna Kowal{mark}ski or an{mark}na@corp.exam{mark}ple"
    rendered = render(text, detector.analyze(text).spans, frozenset()).text
    assert "ski" not in rendered
    assert "@" not in rendered


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("pay with 4111\u200b1111\u200b1111\u200b1111 today", "1111"),
        ("pay with ４１１１ １１１１ １１１１ １１１１ today", "１１１１"),
        ("IBAN DE89\u20603704\u20600044\u20600532\u20600130\u206000", "3704"),
        ("call +49\u200e171\u200e2345678 today", "2345678"),
        ("mail ａｎｎａ＠ｃｏｒｐ.example today", "ｃｏｒｐ"),
        ("SSN 123\u00ad-45\u00ad-6789", "6789"),
        ("password is hun\u200bter2", "ter2"),
        ("call ٠١٧١/١٢٣٤٥٦٧ today", "١٢٣٤٥٦٧"),
        ("Anna\u200b Kowal\ufe0fski", "ski"),
    ],
)
def test_disguised_digits_and_letters_are_read_as_a_reader_reads_them(detector: Detector, text: str, bare: str) -> None:
    """Full-width digits and zero-width joints inside a card number were a way past every pattern."""
    assert bare not in render(text, detector.analyze(text).spans, frozenset()).text


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("aB1 @.:/-\n\0\ud800😀\u200b")), max_size=200))
def test_any_text_gives_sorted_disjoint_spans_inside_it(detector: Detector, text: str) -> None:
    spans = detector.analyze(text).spans
    assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert all(left.end <= right.start for left, right in pairwise(spans))
    assert all(0 < span.score <= 1 for span in spans)


def test_analysis_is_the_same_every_time_and_leaves_no_trace_of_other_texts(detector: Detector) -> None:
    texts = ["I met Bartholomew Quigley.", "Call 0171/1234567.", "Die Rechnung ist bezahlt."]
    first = {text: detector.analyze(text) for text in texts}
    rng = random.Random(3)
    for _ in range(5):
        rng.shuffle(texts)
        for text in texts:
            assert detector.analyze(text) == first[text]


def test_no_socket_is_opened(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Presidio's mail recognizer fetches a suffix list from the internet on first use; ours must not."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the detector tried to open a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert detector.analyze("write to anna@some-unknown-domain.museum or https://example.co.uk/a").spans
