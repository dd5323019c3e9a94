"""What each parser makes of ordinary, malformed, hostile and empty files."""

import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.content import BlockKind
from app.errors import LimitExceededError, PortcullisError, UnsupportedContentError
from app.ingest.parsers.normalise import clean
from app.ingest.parsers.registry import parse
from app.ingest.parsers.wire import MAX_CONTENT_BYTES
from tests.ingest.parsing import kinds, read, refusal, texts

PAGE = """---
title: Travel policy
lang: en
keywords: [trips, per diem]
---
Intro with a [link](http://example.org/x), `code` and **bold**.

## Booking

- Trains first
  - second class
- Planes above 6 hours

  with approval

| Class | Limit |
| --- | --- |
| Train | 200 EUR |

```
pip install \u200btravel
```
"""


def test_markdown_becomes_blocks_under_their_headings() -> None:
    parsed = read(PAGE, "travel.md")
    assert (parsed.title, parsed.language, parsed.keywords) == ("Travel policy", "en", ("trips", "per diem"))
    assert texts(parsed)[0] == "Intro with a link, code and bold."
    assert kinds(parsed) == ["paragraph", "item", "item", "item", "item", "header", "row", "code"]
    assert [b.indent for b in parsed.blocks if b.kind is BlockKind.ITEM] == [0, 2, 0, 1]
    assert parsed.blocks[6].header == ("Class", "Limit")
    assert parsed.blocks[6].headings == ("Booking",)
    assert parsed.blocks[7].text == "pip install travel"


def test_the_first_heading_is_the_title_when_the_page_names_none() -> None:
    parsed = read("# Expenses\n\nKeep receipts.\n\n## Limits\n\nNone.", "x.md")
    assert parsed.title == "Expenses"
    assert [b.headings for b in parsed.blocks] == [(), ("Limits",)]


def test_a_file_without_headings_is_titled_by_its_name() -> None:
    assert read("Some text, no heading.", "travel-policy_2025.md").title == "Travel policy 2025"


def test_template_tags_vanish_and_channels_keep_their_names() -> None:
    body = 'Ask {% slack_channel "people" %} or see [this]({{ site.url }}/x).\n{% comment %}old{% endcomment %}\n{: .note}\n'
    parsed = read(f"---\ntitle: T\n---\n{body}", "x.md")
    assert texts(parsed) == ["Ask #people or see this."]


def test_template_braces_stay_where_no_generator_would_read_them() -> None:
    assert "{{ secrets.KEY }}" in texts(read("Use {{ secrets.KEY }} here.", "x.md"))[0]


def test_html_tables_and_blocks_inside_markdown_are_read() -> None:
    source = "Before\n\n"
    source += "<table><tr><th>Role</th><th>Days</th></tr>\n\n<tr><td>**Lead**</td><td>5<br>6</td></tr></table>\n\n"
    source += "<div><p>Inside</p><script>x()</script></div>\n"
    parsed = read(source, "x.md")
    assert texts(parsed) == ["Before", "Role | Days", "Lead | 5 ; 6", "Inside"]


def test_a_heading_with_nothing_below_it_is_kept_as_text() -> None:
    parsed = read("# T\n\n## Call 555-0100\n\n## Next\n\nText.", "x.md")
    assert texts(parsed) == ["Call 555-0100", "Text."]


@pytest.mark.parametrize("head", ["title: a: b: c", "title: [", "- just\n- a list", "title: " + "[" * 5000])
def test_a_broken_head_never_loses_the_page(head: str) -> None:
    assert texts(read(f"---\n{head}\n---\nThe text.", "x.md")) == ["The text."]


@pytest.mark.parametrize(
    "source",
    [
        "[" * 30_000,
        "*a **a " * 10_000,
        "<a " * 30_000,
        "![a](" * 20_000,
        "<table>" * 20_000,
        "---\ntitle: x\n---\n" + "{% comment %}" * 40_000 + "endcomment",
        "---\ntitle: x\n---\n" + "{%" * 200_000,
        "---\na: &a [x,x]\n"
        + "".join(f"{c}: &{c} [*{p},*{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True))
        + "title: *i\n---\nhi",
        "&amp;" * 100_000,
        "x" * 1_000_000,
    ],
    ids=range(10),
)
def test_hostile_markdown_ends_soon(source: str) -> None:
    started = time.process_time()
    with contextlib.suppress(PortcullisError):
        read(source, "x.md")
    assert time.process_time() - started < 10


def test_lists_nested_too_deep_are_refused_and_never_cut() -> None:
    deep = "\n".join("  " * i + f"- level {i}" for i in range(100))
    assert "nested deeper" in refusal(deep, "x.md")
    assert len(read("\n".join("  " * i + f"- level {i}" for i in range(20)), "x.md").blocks) == 20


def test_html_shows_what_a_reader_sees_and_nothing_else() -> None:
    page = """<html lang="de-DE"><head><title>Urlaub</title><style>p{}</style><meta name=keywords content="a, b"></head><body>
    <nav>Menu</nav><h1>Urlaub</h1><p>Dreißig Tage &amp; mehr.<!-- geheim --></p><p hidden>versteckt</p><p style="display: NONE">weg</p>
    <script>alert(1)</script><ul><li>Eins<ul><li>Zwei</li></ul></li></ul><pre>a
  b</pre><table><tr><th>A<th>B<tr><td>1<td>2</table></body></html>"""
    parsed = read(page, "urlaub.html")
    assert (parsed.title, parsed.language, parsed.keywords) == ("Urlaub", "de", ("a", "b"))
    assert texts(parsed) == ["Dreißig Tage & mehr.", "Eins", "Zwei", "a\n  b", "A | B", "1 | 2"]
    assert [b.indent for b in parsed.blocks if b.kind is BlockKind.ITEM] == [0, 2]
    assert parsed.blocks[0].headings == ("Urlaub",)


def test_keywords_are_few_and_short_however_long_the_page_says_they_are() -> None:
    """They are indexed with every passage: a megabyte of them took gigabytes."""
    for content in ("k" * 1_000_000, ",".join(f"word{n}" for n in range(100_000)), "short," + "k " * 500_000):
        parsed = read(f'<title>T</title><meta name=keywords content="{content}"><p>Thirty days.</p>', "x.html")
        assert sum(map(len, parsed.keywords)) <= 2_000
        assert len(parsed.keywords) <= 50


def test_html_reads_a_declared_encoding_and_refuses_an_unknown_one() -> None:
    assert texts(read('<meta charset="windows-1252"><p>M\u00fcller'.encode("cp1252"), "x.html")) == ["Müller"]
    assert "encoding big5" in refusal('<meta charset="big5"><p>x', "x.html")


def test_html_nested_too_deep_is_refused_and_never_cut() -> None:
    assert "nested" in refusal("<div>" * 10_000 + "x", "x.html")


def test_html_entities_are_not_expanded_and_text_in_them_is_cleaned() -> None:
    source = '<!DOCTYPE html [<!ENTITY a "ha"><!ENTITY b SYSTEM "file:///etc/passwd">]><p>x&a;&b; Mu&#8203;ster&#x202e;</p>'
    text = " ".join(texts(read(source, "x.html")))
    assert "Muster" in text
    assert "root:" not in text


@pytest.mark.parametrize("source", ["<", "<p", "</p>", "<!--", "<table><td>", "\x00<p>", "<p>" * 200])
def test_broken_html_is_read_or_refused(source: str) -> None:
    with contextlib.suppress(UnsupportedContentError):
        read(source, "x.html")


def test_text_has_a_title_paragraphs_items_and_headings() -> None:
    source = "Parking\r\n\r\nThe garage opens\r\nat six.\r\n\r\nRULES\r\n\r\n- No trailers\r\n"
    source += "- Park\r\n  forward\r\n1. Pay\r\n\r\nOpen issues\r\n-----------\r\nNone.\r\n"
    parsed = read(source, "parking.txt")
    assert parsed.title == "Parking"
    assert texts(parsed) == ["The garage opens at six.", "No trailers", "Park forward", "Pay", "None."]
    assert [b.headings for b in parsed.blocks] == [(), ("RULES",), ("RULES",), ("RULES",), ("Open issues",)]


def test_a_one_line_file_is_text_and_title() -> None:
    parsed = read("hello", "x.txt")
    assert (parsed.title, texts(parsed)) == ("hello", ["hello"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_byte_order_marks_are_obeyed_and_dropped(encoding: str) -> None:
    content = "Grüße.".encode(encoding)
    if encoding == "utf-16-le":
        assert "binary" in refusal(content, "x.txt")
    else:
        assert texts(read(content, "x.txt")) == ["Grüße."]


def test_text_that_is_not_utf8_is_refused_with_the_way_out() -> None:
    assert "Save the file with UTF-8" in refusal("Müller".encode("cp1252"), "x.txt")


@pytest.mark.parametrize(
    ("source", "rows"),
    [('a,b\n1,"x, y"\n', ["a | b", "1 | x, y"]), ("a;b\n1;2,5\n", ["a | b", "1 | 2,5"]), ("a\tb\n1\t2", ["a | b", "1 | 2"])],
)
def test_csv_lines_are_rows_under_their_header(source: str, rows: list[str]) -> None:
    parsed = read(source, "limits.csv")
    assert parsed.title == "Limits"
    assert texts(parsed) == rows
    assert parsed.blocks[1].header == ("a", "b")


def test_a_separator_inside_a_cell_does_not_make_two_cells() -> None:
    row = read('a,b\n"x | y",2\n', "x.csv").blocks[1]
    assert row.text == "x / y | 2"


def test_csv_with_a_huge_cell_or_an_open_quote_is_read_or_refused() -> None:
    assert "could not be read" in refusal('a,b\n"' + "x" * 5_000_000, "x.csv")
    assert len(read('a,b\n"open,1\n', "x.csv").blocks) == 2


def test_json_records_are_rows_and_nested_members_paths() -> None:
    rows = [{"name": "laptop", "price": {"eur": 1200.50}, "tags": ["it", "new"]}, {"name": "desk", "ok": True, "none": None}]
    parsed = read(json.dumps(rows), "stock.json")
    assert texts(parsed) == ["name | price.eur | tags | ok | none", "laptop | 1200.5 | it, new", "desk |  |  | true"]
    assert parsed.blocks[1].header == ("name", "price.eur", "tags", "ok", "none")


def test_json_objects_are_lines_under_headings_and_numbers_keep_their_digits() -> None:
    parsed = read('{"title": "Limits", "max": 1.50, "eu": {"de": 30, "list": [{"a": 1}]}}', "x.json")
    assert parsed.title == "Limits"
    assert [(b.text, b.headings) for b in parsed.blocks] == [
        ("title: Limits", ()),
        ("max: 1.50", ()),
        ("de: 30", ("eu",)),
        ("a", ("eu", "list")),
        ("1", ("eu", "list")),
    ]


@pytest.mark.parametrize("source", ["[" * 100_000, '{"a":' * 60 + "1" + "}" * 60, '[{"a":' + "[" * 500 + "]" * 500 + "}]"])
def test_deep_json_is_refused_with_the_limit(source: str) -> None:
    assert "nested deeper than 32" in refusal(source, "x.json")


@pytest.mark.parametrize("source", ["{", "{'a': 1}", '{"a": 1}}', "9" * 5000 + "x", ""])
def test_malformed_json_is_refused(source: str) -> None:
    assert "not valid JSON" in refusal(source, "x.json")


def test_json_lines_are_one_table() -> None:
    assert texts(read('{"a": 1}\n\n{"a": 2}\n', "x.ndjson")) == ["a", "1", "2"]


@pytest.mark.parametrize(
    ("content", "media_type", "name", "said"),
    [
        (b"hello", "application/pdf", "a.pdf", "does not begin like one"),
        (b"%PDF-1.4", "text/plain", "a.txt", "its bytes are PDF"),
        (b"%PDF-1.4", None, "a.md", "its bytes are PDF"),
        (b"hello", "text/html", "a.csv", "Make the two agree"),
        (b"\x89PNG\r\n\x1a\n", "text/markdown", "a.md", "PNG image"),
        (b"\x1f\x8b\x08", None, "a.gz", "gzip archive"),
        (b"\x7fELF", None, None, "program"),
        (b"{\\rtf1 x}", None, "a.rtf", "RTF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", None, "a.docx", "encrypted or an old binary"),
        (b"PK\x03\x04", None, "a.docx", "damaged"),
        (b"hello", "video/mp4", "a.mp4", "video/mp4 are not read"),
        (b"a\x00b", None, "a.txt", "binary content"),
    ],
)
def test_a_file_that_is_not_what_it_claims_is_refused_with_the_reason(
    content: bytes, media_type: str | None, name: str | None, said: str
) -> None:
    assert said in refusal(content, name or "", media_type)


@pytest.mark.parametrize("name", ["a.md", "a.html", "a.txt", "a.csv"])
@pytest.mark.parametrize("content", ["", " \n\t\n", "\ufeff", "\u200b\u200b"])
def test_an_empty_file_is_refused_as_empty(name: str, content: str) -> None:
    assert "holds no text" in refusal(content, name)


def test_more_than_fifty_mebibytes_is_a_size_limit() -> None:
    with pytest.raises(LimitExceededError) as caught:
        parse(b"x" * (MAX_CONTENT_BYTES + 1), None, "x.txt")
    assert caught.value.is_size


@pytest.mark.parametrize(
    ("raw", "stored"),
    [
        ("Erika\u200b Muster\u00admann", "Erika Mustermann"),
        ("erika\u202emann@example.org", "erikamann@example.org"),
        ("a\u0308\u200cb", "äb"),
        ("x\U000e0049\U000e0067y", "xy"),
        ("1\u2028 2\r\n3\r4", "1\n 2\n3\n4"),
        ("a\ud800b", "a\ufffdb"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("a\x00b\x07", "ab"),
    ],
)
def test_invisible_characters_cannot_hide_anything(raw: str, stored: str) -> None:
    assert clean(raw) == stored


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    clean(text).encode("utf-8")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["md", "html", "txt", "csv", "json", "jsonl", "pdf", "docx", "bin"]))
def test_any_bytes_are_read_or_refused_and_never_anything_else(content: bytes, extension: str) -> None:
    try:
        parsed = parse(content, None, f"x.{extension}")
    except PortcullisError:
        return
    assert parsed.title
    assert all(block.text.strip() for block in parsed.blocks)


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.sampled_from("#-*|`<>[](){}%:\n abc&;\"'$1.\u200bé"), max_size=300), st.sampled_from(["md", "html", "txt", "csv", "json"])
)
def test_any_text_is_read_or_refused_and_stored_clean(source: str, extension: str) -> None:
    try:
        parsed = parse(source.encode(), None, f"x.{extension}")
    except PortcullisError:
        return
    for block in parsed.blocks:
        assert clean(block.text) == block.text
        assert block.kind is BlockKind.CODE or "\n" not in block.text
