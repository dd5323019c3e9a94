"""What does not exist and what one may not know read alike: same status, same bytes but for the request id, same headers.

And who may call what at all: every route of the published interface has a row here, for each of the eight sample people.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.e2e.attack import assert_problem, faceless, sample_document, take_in

columns = ("laptop", "company")
ABSENT = "doc_0190a5b0-0000-7000-8000-000000000000"
PEOPLE = (
    "engineer",
    "hr-partner",
    "contractor",
    "finance-analyst",
    "works-council",
    "compliance-officer",
    "policy-steward",
    "administrator",
)
FORBIDDEN = "legal/acquisition-memo"
QUESTION = "How much parental leave do I get?"
Call = Callable[[Gateway, str], Awaitable[httpx.Response]]


def document_calls(document_id: str) -> dict[str, Call]:
    async def explain(gateway: Gateway, person: str) -> httpx.Response:
        return await gateway.post("/v1/policy/explain", person, {"document_id": document_id, "action": "read"})

    async def explain_delete(gateway: Gateway, person: str) -> httpx.Response:
        return await gateway.post("/v1/policy/explain", person, {"document_id": document_id, "action": "delete"})

    async def read(gateway: Gateway, person: str) -> httpx.Response:
        return await gateway.get(f"/v1/documents/{document_id}", person)

    async def acl(gateway: Gateway, person: str) -> httpx.Response:
        return await gateway.client.put(f"/v1/documents/{document_id}/acl", json={"mode": "inherit"}, headers=gateway.token(person))

    async def label(gateway: Gateway, person: str) -> httpx.Response:
        return await gateway.client.put(f"/v1/documents/{document_id}/label", json={"label": "public"}, headers=gateway.token(person))

    async def unknown_label(gateway: Gateway, person: str) -> httpx.Response:
        return await gateway.client.put(f"/v1/documents/{document_id}/label", json={"label": "zzz"}, headers=gateway.token(person))

    async def withdraw(gateway: Gateway, person: str) -> httpx.Response:
        return await gateway.client.delete(f"/v1/documents/{document_id}", headers=gateway.token(person))

    return {
        "explain": explain,
        "explain_delete": explain_delete,
        "read": read,
        "acl": acl,
        "label": label,
        "unknown_label": unknown_label,
        "withdraw": withdraw,
    }


async def test_an_absent_and_a_forbidden_document_are_told_apart_by_nothing(gateway: Gateway) -> None:
    """An unknown label used to be complained of before the right was decided: 422 told that the document exists, 404 that it does not."""
    forbidden = await sample_document(gateway.services, FORBIDDEN)
    absent, present = document_calls(ABSENT), document_calls(forbidden)
    for person in ("engineer", "contractor", "works-council"):
        for name, call in absent.items():
            nothing, hidden = faceless(await call(gateway, person)), faceless(await present[name](gateway, person))
            assert nothing == hidden, f"{name} as {person}"
            assert nothing[0] == 404, f"{name} as {person}"


async def test_a_withdrawn_document_reads_as_one_that_never_was(gateway: Gateway) -> None:
    document_id = await sample_document(gateway.services, "hr/sick-leave")
    gone = await gateway.client.delete(f"/v1/documents/{document_id}", headers=gateway.token("hr-partner"))
    assert gone.status_code == 204
    absent, withdrawn = document_calls(ABSENT), document_calls(document_id)
    for person in ("hr-partner", "engineer", "policy-steward"):
        for name, call in absent.items():
            assert faceless(await call(gateway, person)) == faceless(await withdrawn[name](gateway, person)), f"{name} as {person}"


async def test_what_belongs_to_another_person_reads_as_absent(gateway: Gateway) -> None:
    """Another person's receipt used to answer 403 where an absent one answers 404."""
    answer = (await gateway.post("/v1/answers", "hr-partner", {"question": QUESTION})).json()
    job = await gateway.post("/v1/collections/hr/documents", "hr-partner", {"text": "A short note.", "title": "Note"})
    pairs = {
        f"/v1/answers/{answer['answer_id']}": "/v1/answers/ans_0190a5b0-0000-7000-8000-000000000000",
        f"/v1/conversations/{answer['conversation_id']}": "/v1/conversations/cnv_0190a5b0-0000-7000-8000-000000000000",
        f"/v1/receipts/{answer['receipt']['receipt_id']}": "/v1/receipts/rcp_evt_0190a5b0-0000-7000-8000-000000000000",
        f"/v1/jobs/{job.json()['job_id']}": "/v1/jobs/job_0190a5b0-0000-7000-8000-000000000000",
    }
    for mine, absent in pairs.items():
        assert (await gateway.get(mine, "hr-partner")).status_code == 200, mine
        for person in ("engineer", "administrator"):
            hidden = await gateway.get(mine, person)
            assert faceless(hidden) == faceless(await gateway.get(absent, person)), f"{mine} as {person}"
            assert_problem(hidden, 404, "not_found")
    for verb, path in (("DELETE", "/v1/conversations/{c}"), ("POST", "/v1/answers/{a}/feedback")):
        body = {"verdict": "wrong"} if verb == "POST" else None
        address = path.format(c=answer["conversation_id"], a=answer["answer_id"])
        nowhere = path.format(c="cnv_none", a="ans_none")
        hidden = await gateway.client.request(verb, address, json=body, headers=gateway.token("engineer"))
        assert faceless(hidden) == faceless(await gateway.client.request(verb, nowhere, json=body, headers=gateway.token("engineer")))
    for path in ("/v1/search", "/v1/answers"):
        field = "query" if path.endswith("search") else "question"
        hidden = await gateway.post(path, "engineer", {field: QUESTION, "conversation_id": answer["conversation_id"]})
        absent = await gateway.post(path, "engineer", {field: QUESTION, "conversation_id": "cnv_none"})
        assert faceless(hidden) == faceless(absent)


async def test_a_collection_one_may_not_see_reads_as_absent(gateway: Gateway) -> None:
    """A submission with an unknown label used to answer 422 for a collection that exists and 404 for one that does not."""
    for person in ("compliance-officer",):
        for body in ({"text": "x"}, {"text": "x", "label": "zzz"}, {"text": "x", "external_id": "finance/budget-2026"}):
            hidden = await gateway.post("/v1/collections/finance/documents", person, body)
            assert faceless(hidden) == faceless(await gateway.post("/v1/collections/nowhere/documents", person, body)), body
        hidden = await gateway.get("/v1/collections/finance", person)
        assert faceless(hidden) == faceless(await gateway.get("/v1/collections/nowhere", person))
        listed = await gateway.get("/v1/documents?collection=finance", person)
        nowhere = await gateway.get("/v1/documents?collection=nowhere", person)
        assert listed.json() == nowhere.json() == {"items": [], "next_cursor": None}
        narrowed = await gateway.post("/v1/search", person, {"query": QUESTION, "collections": ["finance"]})
        absent = await gateway.post("/v1/search", person, {"query": QUESTION, "collections": ["nowhere"]})
        varying = {"decision_id", "receipt", "instance"}
        bodies = [{name: value for name, value in one.json().items() if name not in varying} for one in (narrowed, absent)]
        assert bodies[0] == bodies[1]


async def test_a_request_for_access_never_tells_whether_anything_exists(gateway: Gateway) -> None:
    real = await gateway.post("/v1/access-requests", "contractor", {"document_hint": "Acquisition memo", "reason": "work"})
    nothing = await gateway.post("/v1/access-requests", "contractor", {"document_hint": "Zzyzx memo", "reason": "work"})
    assert faceless(real) == faceless(nothing)
    assert real.status_code == 202


async def test_an_event_of_the_log_is_hidden_from_those_who_may_not_read_it(gateway: Gateway) -> None:
    answer = (await gateway.post("/v1/answers", "hr-partner", {"question": QUESTION})).json()
    event_id = answer["receipt"]["receipt_id"].removeprefix("rcp_")
    for suffix in ("", "/proof"):
        real = await gateway.get(f"/v1/audit/events/{event_id}{suffix}", "engineer")
        absent = await gateway.get(f"/v1/audit/events/evt_none{suffix}", "engineer")
        assert real.status_code == absent.status_code == 403
        bodies = [{k: v for k, v in one.json().items() if k not in {"instance", "decision_id"}} for one in (real, absent)]
        assert bodies[0] == bodies[1]


# Expected status by person, in the order of PEOPLE. `{doc}` is hr/sick-leave, which every employee may read.
MATRIX: dict[tuple[str, str], tuple[int, ...]] = {
    #                                              eng  hr   contr fin  works compl stew admin
    ("get", "/v1/me"):                            (200, 200, 200, 200, 200, 200, 200, 200),
    ("post", "/v1/search"):                       (200, 200, 200, 200, 200, 403, 200, 403),
    ("post", "/v1/answers"):                      (200, 200, 200, 200, 200, 403, 200, 403),
    ("get", "/v1/answers/{answer_id}"):           (404, 404, 404, 404, 404, 404, 404, 404),
    ("post", "/v1/answers/{answer_id}/feedback"): (404, 404, 404, 404, 404, 404, 404, 404),
    ("get", "/v1/conversations"):                 (200, 200, 200, 200, 200, 200, 200, 200),
    ("get", "/v1/conversations/{conversation_id}"):    (404, 404, 404, 404, 404, 404, 404, 404),
    ("delete", "/v1/conversations/{conversation_id}"): (404, 404, 404, 404, 404, 404, 404, 404),
    ("post", "/v1/access-requests"):              (202, 202, 202, 202, 202, 202, 202, 202),
    ("post", "/v1/collections/{collection}/documents"):       (403, 202, 404, 403, 403, 404, 403, 202),
    ("post", "/v1/collections/{collection}/documents:batch"): (403, 202, 404, 403, 403, 404, 403, 202),
    ("get", "/v1/jobs"):                          (200, 200, 200, 200, 200, 200, 200, 200),
    ("post", "/v1/jobs/{job_id}/retry"):          (404, 404, 404, 404, 404, 404, 404, 404),
    ("post", "/v1/jobs/{job_id}/cancel"):         (404, 404, 404, 404, 404, 404, 404, 404),
    ("get", "/v1/jobs/{job_id}"):                 (404, 404, 404, 404, 404, 404, 404, 404),
    ("get", "/v1/documents"):                     (200, 200, 200, 200, 200, 200, 200, 200),
    ("get", "/v1/documents/{document_id}"):       (200, 200, 404, 200, 200, 404, 200, 404),
    ("put", "/v1/documents/{document_id}/acl"):   (403, 200, 404, 403, 403, 404, 403, 404),
    ("put", "/v1/documents/{document_id}/label"): (403, 200, 404, 403, 403, 404, 403, 404),
    ("delete", "/v1/documents/{document_id}"):    (403, 204, 404, 403, 403, 404, 403, 204),
    ("get", "/v1/collections"):                   (200, 200, 200, 200, 200, 200, 200, 200),
    ("get", "/v1/collections/{name}"):            (200, 200, 200, 200, 200, 404, 200, 404),
    ("post", "/v1/collections"):                  (403, 403, 403, 403, 403, 403, 403, 201),
    ("patch", "/v1/collections/{name}"):          (403, 403, 403, 403, 403, 403, 403, 200),
    ("post", "/v1/privacy/analyze"):              (403, 200, 403, 403, 403, 200, 403, 403),
    ("post", "/v1/privacy/redact"):               (403, 200, 403, 403, 403, 200, 403, 403),
    ("get", "/v1/policy/active"):                 (200, 200, 200, 200, 200, 200, 200, 200),
    ("post", "/v1/policy/explain"):               (200, 200, 404, 200, 200, 200, 200, 404),
    ("get", "/v1/audit/events"):                  (403, 403, 403, 403, 403, 200, 403, 403),
    ("get", "/v1/audit/events/{event_id}"):       (403, 403, 403, 403, 403, 404, 403, 403),
    ("get", "/v1/audit/events/{event_id}/proof"): (403, 403, 403, 403, 403, 404, 403, 403),
    ("get", "/v1/audit/keys"):                    (200, 200, 200, 200, 200, 200, 200, 200),
    ("get", "/v1/audit/checkpoint"):              (200, 200, 200, 200, 200, 200, 200, 200),
    ("get", "/v1/receipts/{receipt_id}"):         (404, 404, 404, 404, 404, 404, 404, 404),
}  # fmt: skip
OPEN_TO_ANYBODY = {("get", "/healthz"), ("get", "/readyz"), ("get", "/metrics"), ("get", "/problems/{name}")}
BODIES: dict[str, Any] = {
    "/v1/search": {"query": QUESTION},
    "/v1/answers": {"question": QUESTION},
    "/v1/answers/{answer_id}/feedback": {"verdict": "helpful"},
    "/v1/access-requests": {"reason": "work"},
    "/v1/collections/{collection}/documents": {"text": "A short note.", "title": "Note"},
    "/v1/documents/{document_id}/acl": {"mode": "inherit"},
    "/v1/documents/{document_id}/label": {"label": "internal"},
    "/v1/collections/{name}": {"title": "People and HR"},
    "/v1/privacy/analyze": {"text": "Anna Lind called."},
    "/v1/privacy/redact": {"text": "Anna Lind called."},
}


async def _published(gateway: Gateway) -> set[tuple[str, str]]:
    paths = (await gateway.client.get("/openapi.json")).json()["paths"]
    return {(method, path) for path, methods in paths.items() for method in methods}


async def _called(gateway: Gateway, route: tuple[str, str], person: str | None) -> httpx.Response:
    """One request to a route; deleting spares the sample by taking a fresh document."""
    method, path = route
    document_id = await sample_document(gateway.services, "hr/sick-leave")
    if method == "delete" and "document_id" in path and person in {"hr-partner", "administrator"}:
        document_id = await take_in(gateway, "hr", "hr-partner", text=f"A note for {person}.", title="Note")
    body = BODIES.get(path)
    if path == "/v1/policy/explain":
        body = {"document_id": document_id, "action": "read"}
    if path == "/v1/collections" and method == "post":
        body = {"name": f"made-by-{person}", "title": "Made"}
    address = path.format(
        answer_id="ans_none", conversation_id="cnv_none", collection="hr", job_id="job_none", document_id=document_id,
        name="hr" if method == "patch" else "company", event_id="evt_none", receipt_id="rcp_none",
    )  # fmt: skip
    if path == "/v1/audit/events":
        address += "?case_id=case-1&reason=inquiry"
    content = b'{"text": "A short note."}\n' if path.endswith(":batch") else None
    headers = gateway.token(person) if person else {}
    json = body if content is None else None
    return await gateway.client.request(method, address, json=json, content=content, headers=headers)


async def test_every_published_route_has_its_row_in_the_table(gateway: Gateway) -> None:
    assert await _published(gateway) == set(MATRIX) | OPEN_TO_ANYBODY


async def test_each_person_meets_each_route_as_the_table_says(gateway: Gateway) -> None:
    wrong = []
    for route, expected in MATRIX.items():
        for person, status in zip(PEOPLE, expected, strict=True):
            response = await _called(gateway, route, person)
            if response.status_code != status:
                wrong.append(f"{route} as {person}: {response.status_code} instead of {status}: {response.text[:160]}")
            if response.status_code >= 400:
                assert_problem(response, response.status_code)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("address", ["/v1/audit/events", "/v1/audit/events?case_id=1", "/v1/audit/events?reason=because"])
async def test_the_log_opens_to_nobody_without_a_case_and_a_reason(gateway: Gateway, address: str) -> None:
    assert_problem(await gateway.get(address, "compliance-officer"), 422, "invalid_input")


async def test_nobody_without_a_token_meets_anything_but_a_refusal(gateway: Gateway) -> None:
    for route in MATRIX:
        assert_problem(await _called(gateway, route, None), 401, "not_authenticated")
