"""Hostile input over HTTP: whatever is sent, the answer is a problem that says what to mend, never a 500 and never a hang."""

import asyncio
import io
import time
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PdfWriter

from tests.conftest import Gateway
from tests.e2e.attack import assert_problem, finished_job

MIB = 1024 * 1024
QUESTION = "How much parental leave do I get?"


async def raw(gateway: Gateway, path: str, content: object, content_type: str = "application/json") -> httpx.Response:
    headers = {**gateway.token("hr-partner"), "content-type": content_type}
    return await gateway.client.post(path, content=content, headers=headers)


async def in_pieces(total: int, head: bytes = b"") -> AsyncIterator[bytes]:
    yield head
    for _ in range(total // 65_536):
        yield b" " * 65_536


async def test_bodies_beyond_the_limit_are_refused_whether_or_not_they_say_so(gateway: Gateway) -> None:
    """A document sent in pieces without a length used to end in a 500: the limit was met while the form was being read."""
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    started = time.monotonic()
    for path in ("/v1/answers", "/v1/search", "/v1/access-requests", "/v1/privacy/analyze"):
        assert_problem(await raw(gateway, path, b" " * (10 * MIB)), 413, "limit_exceeded")
        assert_problem(await raw(gateway, path, in_pieces(10 * MIB, b"{")), 413, "limit_exceeded")
    for path in ("/v1/collections/hr/documents", "/v1/collections/hr/documents:batch"):
        assert_problem(await raw(gateway, path, in_pieces(52 * MIB, b"{")), 413, "limit_exceeded")
    assert_problem(await raw(gateway, "/v1/collections/hr/documents", in_pieces(52 * MIB, form), "multipart/form-data; boundary=b"), 413)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "", "9" * 5000, "１０"])
async def test_a_length_that_is_no_number_is_refused(gateway: Gateway, length: str) -> None:
    headers = [(b"content-length", length.encode()), *((k.lower().encode(), v.encode()) for k, v in gateway.token("engineer").items())]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:  # noqa: ANN401 - an ASGI message
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "path": "/v1/answers",
        "raw_path": b"/v1/answers", "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8080),
    }  # fmt: skip
    await gateway.client._transport.app(scope, receive, send)
    assert sent[0]["status"] == 413


BROKEN = {
    "empty": b"",
    "no json": b"question",
    "cut": b'{"question": "x',
    "deep array": b"[" * 400_000,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep question": b'{"question":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "invalid utf-8": b'{"question": "\xff\xfe\xfa"}',
    "huge integer": b'{"question": "x", "top_k": ' + b"9" * 100_000 + b"}",
    "not a number": b'{"question": "x", "top_k": NaN}',
    "infinity": b'{"question": "x", "top_k": 1e999}',
    "array": b"[]",
    "null": b"null",
    "string": b'"question"',
    "lone surrogate": b'{"question": "a \\ud800 b"}',
    "surrogate in a name": b'{"question": "x", "\\udfff": 1}',
    "surrogate in a filter": b'{"question": "x", "filters": {"labels": ["\\ud800"]}}',
    "surrogate as conversation": b'{"question": "x", "conversation_id": "\\ud800"}',
    "unknown fields": b'{"question": "x", "filter": {}, "k": 3}',
    "wrong types": b'{"question": 7, "collections": "hr", "stream": "perhaps", "top_k": "many"}',
    "too few": b'{"question": "x", "top_k": 0}',
    "too many": b'{"question": "x", "top_k": 51}',
    "no question": b'{"top_k": 3}',
    "empty question": b'{"question": ""}',
    "long question": b'{"question": "' + b"x" * 8001 + b'"}',
    "odd label": b'{"question": "x", "filters": {"labels": ["../../etc"]}}',
    "odd time": b'{"question": "x", "filters": {"updated_after": "yesterday"}}',
    "time before the calendar": b'{"question": "x", "filters": {"updated_after": "0001-01-01T00:00:00+14:00"}}',
    "time after the calendar": b'{"question": "x", "filters": {"updated_after": "9999-12-31T23:59:59-14:00"}}',
    "model of another": b'{"question": "x", "model": "gpt-x"}',
}


async def test_broken_questions_are_named_and_refused(gateway: Gateway) -> None:
    """A lone surrogate used to reach the database, the embedder and the problem's own encoder, each of which failed on it with a 500."""
    for name, content in BROKEN.items():
        started = time.monotonic()
        response = await raw(gateway, "/v1/answers", content)
        assert response.status_code == 422, f"{name}: {response.text[:200]}"
        body = assert_problem(response, 422)
        assert body["code"] == "invalid_input", name
        assert isinstance(body["errors"], list), name
        assert all(set(one) >= {"pointer", "detail"} for one in body["errors"]), name
        assert time.monotonic() - started < 5, name
        assert len(response.content) < 5_000, name


async def test_a_pointer_names_the_part_to_mend(gateway: Gateway) -> None:
    body = assert_problem(await raw(gateway, "/v1/answers", b'{"question": "x", "filters": {"langages": []}, "top_k": 0, "a/b~c": 1}'), 422)
    assert {"/filters/langages", "/top_k", "/a~1b~0c"} == {one["pointer"] for one in body["errors"]}


ODD_TEXTS = (
    "\x00",
    "a\x00b\x1b[31m",
    "pare\u200bntal le\u200cave",
    "\u202eevael latnerap\u202c",
    "\ufeff\u2066\u2069",
    "x" * 8000,
    "🙂" * 4000,
    "a\u0301" * 4000,
    "' OR 1=1; DROP TABLE document; --",
    '"; rm -rf / #',
    "{{7*7}} ${7*7} <%= 7*7 %> #{7*7}",
    "<script>alert(1)</script>",
    "%s%s%s%n %00 ../../../../etc/passwd",
    'NEAR(a b) AND * OR " NOT ^ {title}: -x',
    "]]>&xxe;<!ENTITY x SYSTEM 'file:///etc/passwd'>",
    "=cmd|' /C calc'!A0",
    "٣٤٥ ①②③ ⅷ",
    "﷽" * 400,
    "\n" * 8000,
    "?" * 8000,
    "the " * 2000,
    "parental leave\r\nX-Injected: yes",
)


async def test_odd_characters_in_questions_are_just_characters(gateway: Gateway) -> None:
    for text in ODD_TEXTS:
        for path, field in (("/v1/search", "query"), ("/v1/answers", "question")):
            started = time.monotonic()
            response = await gateway.post(path, "engineer", {field: text})
            assert response.status_code == 200, f"{text[:40]!r}: {response.text[:300]}"
            assert time.monotonic() - started < 5, repr(text[:40])
            assert "49" not in response.json().get("answer", "") or "{{" not in text


async def test_odd_addresses_and_cursors_are_refused_or_find_nothing(gateway: Gateway) -> None:
    odd = ("%00", "%ff", "..%2f..%2fetc%2fpasswd", "a" * 5000, "%F0%9F%99%82", "'%20OR%201=1", "doc_%0a%0d", "%ED%A0%80")
    for part in odd:
        for path in ("documents", "answers", "conversations", "jobs", "receipts", "collections"):
            assert_problem(await gateway.get(f"/v1/{path}/{part}", "engineer"), 404, "not_found")
        assert (await gateway.get(f"/v1/audit/events/{part}", "compliance-officer")).status_code == 404
        listed = await gateway.get(f"/v1/documents?collection={part[:80]}&q={part[:150]}&cursor={part[:60]}", "engineer")
        assert listed.status_code in {200, 422}
    beyond = ("cursor=0001-01-01T00:00:00%2B14:00", "cursor=9999-12-31T23:59:59-14:00")
    for query in (*beyond, "cursor=yesterday", "limit=0", "limit=201", "limit=x"):
        assert_problem(await gateway.get(f"/v1/conversations?{query}", "engineer"), 422, "invalid_input")
    for query in ("since=0001-01-01T00:00:00%2B14:00", "cursor=x", "limit=9999", "cursor=" + "9" * 30, "colour=red"):
        assert_problem(await gateway.get(f"/v1/audit/events?case_id=1&reason=x&{query}", "compliance-officer"), 422, "invalid_input")
    for query in ("since=0001-01-01T00:00:00", "until=9999-12-31T23:59:59", "cursor=" + "9" * 18):
        assert (await gateway.get(f"/v1/audit/events?case_id=1&reason=x&{query}", "compliance-officer")).status_code == 200
    for address, status in (("/v1/nothing", 404), ("/v1", 404), ("/problems/nothing", 404), ("/V1/ME", 404)):
        assert_problem(await gateway.get(address, "engineer"), status)
    assert_problem(await gateway.client.patch("/v1/search", headers=gateway.token("engineer")), 405)


def zip_of(parts: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return target.getvalue()


def encrypted_pdf() -> bytes:
    writer = PdfWriter()
    writer.add_blank_page(200, 200)
    writer.encrypt("secret")
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


WORD = "word/document.xml"
REFUSED_FILES: dict[str, tuple[str, str, bytes]] = {
    "empty": ("a.txt", "text/plain", b""),
    "only spaces": ("a.txt", "text/plain", b" \n\t" * 100),
    "only invisible characters": ("a.txt", "text/plain", "\u200b\u2060\ufeff".encode() * 100),
    "picture": ("a.png", "image/png", b"\x89PNG\r\n\x1a\n" + b"\x00" * 100),
    "program": ("a.txt", "text/plain", b"\x7fELF" + b"\x00" * 500),
    "pdf called text": ("a.txt", "text/plain", b"%PDF-1.7\n" + b"\x00" * 100),
    "text called pdf": ("a.pdf", "application/pdf", b"just words"),
    "pdf cut off": ("a.pdf", "application/pdf", b"%PDF-1.7\n1 0 obj <<"),
    "encrypted pdf": ("a.pdf", "application/pdf", encrypted_pdf()),
    "docx called pdf": ("a.pdf", "application/pdf", zip_of({WORD: b"<x/>"})),
    "old office file": ("a.docx", "", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600),
    "bomb": ("a.docx", "", zip_of({WORD: b"<w:t>" + b"a" * (300 * MIB) + b"</w:t>"})),
    "many parts": ("a.docx", "", zip_of({WORD: b"<x/>", **{f"p{n}": b"" for n in range(12_000)}})),
    "entities": (
        "a.docx",
        "",
        zip_of({WORD: b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><a>&b;</a>'}),
    ),
    "climbing archive": ("a.zip", "application/zip", zip_of({"../../etc/passwd": b"x"})),
    "not utf-8": ("a.md", "text/markdown", b"\xff\xfe\xfa\xc3\x28 words"),
    "text with nul": ("a.txt", "text/plain", b"word\x00word"),
    "broken json": ("a.json", "application/json", b'{"a": '),
    "deep json": ("a.json", "application/json", b"[" * 200_000),
    "media type of another": ("a.md", "application/pdf", b"# words"),
    "unknown type": ("a.xyz", "application/x-unknown", b"\x01\x02\x03 words"),
}


async def test_files_that_cannot_be_taken_in_are_quarantined_with_a_reason(gateway: Gateway) -> None:
    jobs = {}
    for name, (file, kind, content) in REFUSED_FILES.items():
        parts = {"file": (file, content, kind or "application/octet-stream")}
        response = await gateway.client.post("/v1/collections/hr/documents", files=parts, headers=gateway.token("hr-partner"))
        if response.status_code != 202:
            assert response.status_code in {413, 422}, name
            assert_problem(response, response.status_code)
            continue
        jobs[name] = response.json()
    for name, taken in jobs.items():
        job = await finished_job(gateway, "hr-partner", taken["job_id"], within_s=60)
        assert job["state"] == "quarantined", f"{name}: {job}"
        assert len(job["error"]) > 20, name
        assert "Traceback" not in job["error"], name
        assert (await gateway.get(f"/v1/documents/{taken['document_id']}", "hr-partner")).status_code == 404, name
    assert (await gateway.post("/v1/answers", "engineer", {"question": QUESTION})).json()["state"] == "answered"


BAD_SUBMISSIONS: dict[str, dict[str, Any]] = {
    "no text": {"title": "x"},
    "empty text": {"text": ""},
    "text is a number": {"text": 7},
    "unknown label": {"text": "x", "label": "cosmic"},
    "odd label": {"text": "x", "label": "Internal; DROP TABLE"},
    "unknown acl mode": {"text": "x", "acl": {"mode": "open"}},
    "principal of no kind": {"text": "x", "acl": {"mode": "explicit", "allow": ["everyone"]}},
    "principal too long": {"text": "x", "acl": {"mode": "explicit", "allow": ["user:" + "x" * 600]}},
    "principals without end": {"text": "x", "acl": {"mode": "explicit", "allow": [f"user:{n}" for n in range(1001)]}},
    "unknown field": {"text": "x", "owner": "me"},
    "title too long": {"text": "x", "title": "t" * 1001},
    "id too long": {"text": "x", "external_id": "i" * 1001},
    "address too long": {"text": "x", "source_uri": "u" * 2049},
    "language of no kind": {"text": "x", "language": "english"},
    "odd time": {"text": "x", "valid_until": "soon"},
    "time beyond the calendar": {"text": "x", "valid_until": "9999-12-31T23:59:59-14:00"},
}


async def test_submissions_that_are_malformed_name_the_part(gateway: Gateway) -> None:
    for name, body in BAD_SUBMISSIONS.items():
        problem = assert_problem(await gateway.post("/v1/collections/hr/documents", "hr-partner", body), 422)
        assert problem["errors"], name
    for content in (b"{", b"[]", b'{"text":"\\ud800"}', b'{"text":"x","title":"\\udfff"}'):
        assert_problem(await raw(gateway, "/v1/collections/hr/documents", content), 422)
    assert_problem(await raw(gateway, "/v1/collections/hr/documents", b"words", "text/plain"), 422)
    for form in (b"", b"--b", b"--b\r\n\r\n--b--", b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nx\r\n--b--\r\n'):
        response = await raw(gateway, "/v1/collections/hr/documents", form, "multipart/form-data; boundary=b")
        assert_problem(response, 422)
    batch = b'{"text": "fine"}\nnot json\n{"text": ""}\n[]\n{"text": "x", "label": "cosmic"}\n'
    items = (await raw(gateway, "/v1/collections/hr/documents:batch", batch, "application/x-ndjson")).json()["items"]
    assert ["error" in one for one in items] == [False, True, True, True, True]


async def test_a_time_without_a_zone_is_taken_as_utc(gateway: Gateway) -> None:
    """It used to end in a 500, or in a job that failed for ever."""
    body = {"text": "A note that ends.", "title": "Ending", "valid_until": "2030-01-01T00:00:00"}
    taken = (await gateway.post("/v1/collections/hr/documents", "hr-partner", body)).json()
    assert (await finished_job(gateway, "hr-partner", taken["job_id"]))["state"] == "succeeded"
    shown = (await gateway.get(f"/v1/documents/{taken['document_id']}", "hr-partner")).json()
    assert shown["valid_until"] == "2030-01-01T00:00:00Z"
    search = {"query": QUESTION, "filters": {"updated_after": "2020-01-01T00:00:00"}}
    assert (await gateway.post("/v1/search", "engineer", search)).json()["passages"]


async def test_a_line_of_a_megabyte_and_markup_as_content_are_taken_in_as_text(gateway: Gateway) -> None:
    hostile = "<script>alert(1)</script> {{7*7}} ' OR 1=1 -- %s ${jndi:ldap://x} "
    texts = {"line": "leave " * 10_000 + "x" * 1_000_000, "markup": hostile * 50, "title": "Fine words about a holiday."}
    for name, text in texts.items():
        title = hostile[:900] if name == "title" else name
        body = {"text": text, "title": title, "media_type": "text/plain"}
        response = await gateway.post("/v1/collections/hr/documents", "hr-partner", body)
        started = time.monotonic()
        quick = await gateway.post("/v1/search", "engineer", {"query": QUESTION})
        assert quick.status_code == 200
        assert time.monotonic() - started < 5, "searching stands still while a document is read"
        job = await finished_job(gateway, "hr-partner", response.json()["job_id"], within_s=120)
        assert job["state"] == "succeeded", f"{name}: {job}"


async def test_names_are_stored_without_characters_that_nobody_sees(gateway: Gateway) -> None:
    """A zero-width space in a name hid it from the detector: titles given beside the file were not cleaned as its text is."""
    body = {
        "text": "Notes about the office chairs.",
        "title": "Review of An\u200bna Mül\u2060ler\u202e\x00",
        "source_uri": "hr/an\u200bna-mueller\x00.md",
        "external_id": "hr/no\u200btes\x00-1",
    }
    taken = (await gateway.post("/v1/collections/hr/documents", "hr-partner", body)).json()
    assert (await finished_job(gateway, "hr-partner", taken["job_id"]))["state"] == "succeeded"
    seen = (await gateway.get(f"/v1/documents/{taken['document_id']}", "engineer")).json()
    whole = (await gateway.get(f"/v1/documents/{taken['document_id']}", "hr-partner")).json()
    assert whole["title"] == "Review of Anna Müller"
    assert "Müller" not in seen["title"]
    assert not set(whole["title"] + whole["source_uri"]) & set("\u200b\u2060\u202e\x00")
    again = (await gateway.post("/v1/collections/hr/documents", "hr-partner", {**body, "external_id": "hr/notes-1"})).json()
    assert again["document_id"] == taken["document_id"]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=6,
)


async def test_no_published_route_answers_anything_but_its_own_or_a_problem(gateway: Gateway) -> None:
    """A sweep over the published description: each field of each body in turn takes values that it was not made for."""
    description = (await gateway.client.get("/openapi.json")).json()
    loop = asyncio.get_running_loop()
    routes = [
        (method, path, _fields(description, operation))
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
        if path.startswith("/v1/")
    ]

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(routes), st.data())
    def sweep(route: tuple[str, str, list[str]], data: st.DataObject) -> None:
        method, path, fields = route
        names = st.sampled_from(fields) if fields else st.text(max_size=10)
        body = data.draw(st.dictionaries(names, JSON_VALUES, max_size=4) | JSON_VALUES)
        part = data.draw(st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=20))
        address = path.replace("{", "").replace("}", "") if data.draw(st.booleans()) else path.split("{")[0] + part
        person = data.draw(st.sampled_from(["engineer", "administrator", "compliance-officer"]))
        call = gateway.client.request(method, address, json=body, headers=gateway.token(person))
        response = asyncio.run_coroutine_threadsafe(call, loop).result(30)
        assert response.status_code < 500, (method, address, body, response.text)
        if response.status_code >= 400:
            assert_problem(response, response.status_code)

    await asyncio.to_thread(sweep)


def _fields(description: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name = str(schema.get("$ref", "")).rsplit("/", 1)[-1]
    return list(description["components"]["schemas"].get(name, {}).get("properties", {}))
