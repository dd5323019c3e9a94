"""What a person may not see changes nothing they can see: not a hit, an order, a confidence, a spelling, a count or a byte.

Two gateways start from the same folder. One then takes in documents that the asker may not read (or the same documents with other
personal values); after that both must answer alike, byte for byte, once ids of requests and records and their times are set aside.
"""

import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from app.wiring import Models
from tests.conftest import Gateway, gateway_in
from tests.e2e.attack import drained, take_in

ASKED = (
    "How much parental leave do I get?",
    "parentel leeve",
    "zefyrine bugdet",
    "Who signs contracts for Quillfeather?",
    "xylofonic turbo encabulator",
)
FORBIDDEN = (
    "Project Zephyrine: the budget for parental leave and travel expenses is decided. The acquisition of Quillfeather is signed.",
    "Quillfeather quillfeather zephyrine encabulator parental leave leave leave. Contracts are signed by the board of Zephyrine.",
    "Xylofonic encabulator travel expenses per day: 4711. Parentel leeve is how the old form spelled it.",
)
ID = re.compile(r"\b(?:req|dec|rcp_evt|evt|ans|cnv|job|fbk)_[0-9a-f-]{36}")
VARYING = {"receipt", "decision_id", "instance", "answer_id", "conversation_id", "created_at"}


@pytest.fixture
async def twins(seeded: Path, models: Models, tmp_path: Path) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two gateways over copies of one folder."""
    async with AsyncExitStack() as stack:
        opened = []
        for name in ("one", "other"):
            shutil.copytree(seeded, tmp_path / name)
            opened.append(await stack.enter_async_context(gateway_in(tmp_path / name, models)))
        yield opened[0], opened[1]


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A response without ids and times that name the request or its record."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items() if name not in VARYING}
    return [plain(part) for part in value] if isinstance(value, list) else value


async def views(gateway: Gateway, person: str, asked: tuple[str, ...] = ASKED) -> list[bytes]:
    """Everything a person can look at."""
    seen = []
    for text in asked:
        for path, body in (
            ("/v1/search", {"query": text, "top_k": 50}),
            ("/v1/answers", {"question": text}),
            ("/v1/search", {"query": text, "collections": ["legal", "finance"], "filters": {"labels": ["secret", "internal"]}}),
        ):
            response = await gateway.post(path, person, body)
            seen.append(json.dumps([response.status_code, plain(response.json())], sort_keys=True).encode())
    for path in ("collections", "me", "documents?limit=200", "documents?limit=5", "documents?q=project", "policy/active"):
        response = await gateway.get(f"/v1/{path}", person)
        body = {name: value for name, value in response.json().items() if name != "activated_at"}
        seen.append(ID.sub("ID", json.dumps([response.status_code, body], sort_keys=True)).encode())
    return seen


async def test_documents_that_a_person_may_not_read_change_no_byte_of_what_they_see(twins: tuple[Gateway, Gateway]) -> None:
    one, other = twins
    before = await views(other, "engineer")
    for number, text in enumerate(FORBIDDEN):
        await take_in(other, "finance", "finance-analyst", text=text, title=f"Project Zephyrine {number}", label="confidential")
    explicit = {"mode": "explicit", "allow": ["role:sample|hr-partner"]}
    await take_in(other, "hr", "hr-partner", text=" ".join(FORBIDDEN), title="Project Quillfeather", label="internal", acl=explicit)
    await drained(other)
    found = (await other.post("/v1/search", "finance-analyst", {"query": "Zephyrine budget"})).json()
    assert found["passages"][0]["title"].startswith("Project")
    for person in ("engineer", "contractor"):
        assert await views(one, person) == await views(other, person), person
    assert before == await views(other, "engineer")


async def test_withdrawn_documents_leave_no_trace_in_what_anybody_sees(twins: tuple[Gateway, Gateway]) -> None:
    one, other = twins
    taken = [await take_in(other, "hr", "hr-partner", text=text, title=f"Zephyrine {n}") for n, text in enumerate(FORBIDDEN)]
    await drained(other)
    assert await views(one, "engineer") != await views(other, "engineer")
    for document_id in taken:
        assert (await other.client.delete(f"/v1/documents/{document_id}", headers=other.token("hr-partner"))).status_code == 204
    for person in ("engineer", "hr-partner"):
        assert await views(one, person) == await views(other, person), person


CALL_SHEET = """# Call sheet for {name}

The contact for relocation questions is {name}. Write to {mail} or ring {phone}.
{name} answers within two days. The relocation allowance is 1,500 euros.
"""
VALUES = (
    {"name": "Mara Lindqvist", "mail": "mara.lindqvist@example.com", "phone": "+49 30 5550 1234"},
    {"name": "Jorge Castellanos", "mail": "jorge.castellanos@example.com", "phone": "+49 30 5559 8765"},
)
PROBES = (
    "Mara Lindqvist",
    "Lindqvist",
    "lindqvist relocation allowance",
    "mara.lindqvist@example.com",
    "+49 30 5550 1234",
    "Jorge Castellanos relocation",
    "Castelanos",
    "Who is the contact for relocation questions?",
    "relocation allowance of Mara",
)


async def test_hidden_values_of_readable_documents_change_no_byte_either(twins: tuple[Gateway, Gateway]) -> None:
    """Keywords of a document's front matter were searchable by everybody: the name in them could be probed."""
    for gateway, values in zip(twins, VALUES, strict=True):
        slug = values["name"].lower().replace(" ", "-")
        text = f"---\nkeywords: [relocation, {values['name']}, {values['mail']}]\n---\n" + CALL_SHEET.format(**values)
        named = {"title": f"Relocation: {values['name']}", "source_uri": f"hr/{slug}.md", "external_id": "relocation"}
        await take_in(gateway, "hr", "hr-partner", text=text, **named)
        await drained(gateway)
    found = (await twins[0].post("/v1/search", "engineer", {"query": "relocation allowance"})).json()["passages"][0]
    assert "1,500 euros" in found["text"]
    assert "Lindqvist" not in json.dumps(found)

    def without_ids(seen: list[bytes]) -> list[bytes]:
        return [re.sub(rb'doc_[0-9a-f-]{36}|"(?:updated|created)_at": "[^"]*"', b"", one) for one in seen]

    for person in ("engineer",):
        one, other = [without_ids(await views(gateway, person, PROBES)) for gateway in twins]
        for left, right, probe in zip(one, other, [probe for probe in PROBES for _ in range(3)] + ["lists"] * 6, strict=True):
            assert left == right, f"{person}: {probe}"


async def test_only_those_who_may_see_a_name_find_its_document_by_it(gateway: Gateway) -> None:
    values = VALUES[0]
    await take_in(gateway, "hr", "hr-partner", text=CALL_SHEET.format(**values), title="Relocation contacts", source_uri="hr/relocation.md")
    await drained(gateway)
    for probe in ("Lindqvist", "Mara Lindqvist", values["mail"], values["phone"]):
        hidden = (await gateway.post("/v1/search", "engineer", {"query": probe, "top_k": 50})).json()
        allowed = (await gateway.post("/v1/search", "hr-partner", {"query": probe, "top_k": 50})).json()
        assert "Lindqvist" not in json.dumps(hidden)
        assert "Lindqvist" in allowed["passages"][0]["text"], f"{probe}: who may see it may search for it"
        ours = [one["confidence"] for one in hidden["passages"] if one["title"] == "Relocation contacts"]
        assert max(ours, default=0.0) < allowed["passages"][0]["confidence"], probe
        assert hidden["state"] != "found", probe
