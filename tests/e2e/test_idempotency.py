"""A repeat with the same key does nothing twice and says the same; another body under the key is a conflict."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from httpx import Response

from app.api.idempotency import Once
from app.domain.identity import Caller, SubjectId
from app.errors import ConflictError, OutcomeUnknownError, UpstreamUnavailableError
from app.ingest.jobs import Submission
from app.ingest.submit import SubmitDocument, Submitted
from app.storage.people_rows import IdempotencyKey
from tests.conftest import Gateway
from tests.e2e.attack import assert_problem, meddle, sample_document, sse_events, take_in, trail

QUESTION = {"question": "How much parental leave do I get?"}
KEY = {"Idempotency-Key": "key-1"}


async def test_every_route_that_creates_honours_the_key(gateway: Gateway) -> None:
    answer = (await gateway.post("/v1/answers", "administrator", {"question": "x"})).status_code
    assert answer == 403
    mine = (await gateway.post("/v1/answers", "hr-partner", QUESTION)).json()
    routes: dict[str, tuple[str, dict[str, object], dict[str, object]]] = {
        "/v1/answers": ("engineer", QUESTION, {"question": "Who signs contracts?"}),
        "/v1/access-requests": ("engineer", {"reason": "work"}, {"reason": "other"}),
        "/v1/collections/hr/documents": ("hr-partner", {"text": "A note."}, {"text": "Another note."}),
        "/v1/collections": ("administrator", {"name": "made", "title": "Made"}, {"name": "made-2", "title": "Made"}),
        f"/v1/answers/{mine['answer_id']}/feedback": ("hr-partner", {"verdict": "wrong"}, {"verdict": "helpful"}),
    }
    for path, (person, body, other) in routes.items():
        first = await gateway.post(path, person, body, **KEY)
        assert first.status_code < 300, f"{path}: {first.text}"
        before = len(await trail(gateway.services))
        again = await gateway.post(path, person, body, **KEY)
        assert again.status_code == first.status_code, path
        assert again.json() == first.json(), path
        made = [one["type"] for one in (await trail(gateway.services))[before:]]
        assert set(made) <= {"answer.reread", "document.ingested"}, f"{path} did it again: {made}"
        assert_problem(await gateway.post(path, person, other, **KEY), 409, "conflict")
        assert (await gateway.post(path, person, other, **{"Idempotency-Key": "key-2"})).status_code < 300, path


async def test_a_batch_is_taken_once(gateway: Gateway) -> None:
    headers = {**gateway.token("hr-partner"), **KEY}
    lines = b'{"text": "One note."}\n{"text": "Two notes."}\n'
    first = await gateway.client.post("/v1/collections/hr/documents:batch", content=lines, headers=headers)
    again = await gateway.client.post("/v1/collections/hr/documents:batch", content=lines, headers=headers)
    assert first.json() == again.json()
    assert len({one["document_id"] for one in first.json()["items"]}) == 2


async def test_a_line_that_policy_refuses_hides_none_that_was_taken(gateway: Gateway) -> None:
    """It refused the whole batch: lines before it were taken, those after it never, and each repeat took the former anew."""
    shut = {"mode": "explicit", "allow": ["role:sample|legal-counsel"], "deny": []}
    await take_in(gateway, "hr", "administrator", text="Shut.", external_id="b-2", acl=shut)
    lines = b"".join(json.dumps({"text": f"Line {number}.", "external_id": f"b-{number}"}).encode() + b"\n" for number in (1, 2, 3))
    headers = {**gateway.token("hr-partner"), **KEY}
    first = await gateway.client.post("/v1/collections/hr/documents:batch", content=lines, headers=headers)
    assert first.status_code == 202, first.text
    assert [sorted(one) for one in first.json()["items"]] == [
        ["document_id", "job_id", "line", "version"],
        ["error", "line"],
        ["document_id", "job_id", "line", "version"],
    ]
    assert (await gateway.client.post("/v1/collections/hr/documents:batch", content=lines, headers=headers)).json() == first.json()
    # Where no line is taken there is nothing to tell but the refusal.
    refused = await gateway.client.post("/v1/collections/hr/documents:batch", content=lines, headers=gateway.token("engineer"))
    assert_problem(refused, 403)


async def test_a_key_belongs_to_one_person_and_one_route(gateway: Gateway) -> None:
    one = (await gateway.post("/v1/answers", "engineer", QUESTION, **KEY)).json()
    other = (await gateway.post("/v1/answers", "hr-partner", QUESTION, **KEY)).json()
    assert one["answer_id"] != other["answer_id"]
    assert (await gateway.post("/v1/access-requests", "engineer", {"reason": "work"}, **KEY)).status_code == 202


async def test_a_repeat_for_another_purpose_is_another_request(gateway: Gateway) -> None:
    """The purpose was no part of what a key stood for: a repeat without it got the answer that the purpose had opened."""
    await gateway.post("/v1/answers", "engineer", QUESTION, **KEY, **{"X-Purpose": "incident-response"})
    assert_problem(await gateway.post("/v1/answers", "engineer", QUESTION, **KEY), 409, "conflict")


async def test_a_repeated_question_is_authorised_anew(gateway: Gateway) -> None:
    first = (await gateway.post("/v1/answers", "engineer", QUESTION, **KEY)).json()
    document_id = await sample_document(gateway.services, "hr/parental-leave")
    gone = await gateway.client.delete(f"/v1/documents/{document_id}", headers=gateway.token("hr-partner"))
    assert gone.status_code == 204
    again = (await gateway.post("/v1/answers", "engineer", QUESTION, **KEY)).json()
    assert again["answer_id"] == first["answer_id"]
    assert again["sealed"] is True
    assert first["answer"] not in json.dumps(again)


async def test_a_repeated_stream_gives_the_same_answer(gateway: Gateway) -> None:
    """Streams ignored the key: each retry of a client that lost its connection made one more answer."""
    body = {**QUESTION, "stream": True}
    first = sse_events((await gateway.post("/v1/answers", "engineer", body, **KEY)).text)
    again = sse_events((await gateway.post("/v1/answers", "engineer", body, **KEY)).text)
    assert first[-1][0] == again[-1][0] == "finished"
    assert first[-1][1]["answer_id"] == again[-1][1]["answer_id"]
    assert [name for name, _ in again] == ["finished"]
    assert len((await gateway.get("/v1/conversations", "engineer")).json()["items"]) == 1


async def test_of_requests_at_the_same_moment_one_does_the_work(gateway: Gateway) -> None:
    body = {"text": "A note.", "title": "Once"}
    responses = await asyncio.gather(*(gateway.post("/v1/collections/hr/documents", "hr-partner", body, **KEY) for _ in range(8)))
    done = [one for one in responses if one.status_code == 202]
    assert done
    assert len({one.json()["document_id"] for one in done}) == 1
    for response in responses:
        if response.status_code != 202:
            assert_problem(response, 409, "conflict")
    submitted = [one for one in await trail(gateway.services) if one["type"] == "document.submitted"]
    assert len([one for one in submitted if one["actor"].endswith("|hr-partner")]) == 1


async def test_a_refused_request_frees_its_key(gateway: Gateway) -> None:
    assert_problem(await gateway.post("/v1/collections/hr/documents", "engineer", {"text": "x"}, **KEY), 403)
    assert_problem(await gateway.post("/v1/collections/hr/documents", "engineer", {"text": "x"}, **KEY), 403)
    assert_problem(await gateway.post("/v1/answers", "engineer", {**QUESTION, "conversation_id": "cnv_none"}, **KEY), 404)
    assert (await gateway.post("/v1/answers", "engineer", QUESTION, **KEY)).status_code == 200


async def test_a_key_whose_process_died_can_be_used_again_after_a_while(gateway: Gateway) -> None:
    """A process that was killed between taking a key and answering left it taken for ever: every repeat was a conflict."""
    made = await gateway.post("/v1/access-requests", "engineer", {"reason": "work"}, **KEY)
    assert made.status_code == 202
    await meddle(gateway.services.settings.data / "portcullis.db", "UPDATE idempotency SET status = NULL, response = NULL")
    assert_problem(await gateway.post("/v1/access-requests", "engineer", {"reason": "work"}, **KEY), 409, "conflict")
    await meddle(gateway.services.settings.data / "portcullis.db", "UPDATE idempotency SET created_at = '2026-01-01 00:00:00.000000'")
    assert (await gateway.post("/v1/access-requests", "engineer", {"reason": "work"}, **KEY)).status_code == 202


@pytest.mark.parametrize("key", ["k" * 201, "k" * 5000])
async def test_a_key_beyond_its_length_is_refused(gateway: Gateway, key: str) -> None:
    assert_problem(await gateway.post("/v1/answers", "engineer", QUESTION, **{"Idempotency-Key": key}), 422, "invalid_input")


async def test_a_repeat_after_a_commit_that_nobody_answered_is_not_done_a_second_time(gateway: Gateway) -> None:
    services, done = gateway.services, []

    async def work() -> dict[str, int]:
        done.append(1)
        message = "the database went away"
        raise OutcomeUnknownError(message)

    once = Once(services, IdempotencyKey(services.tenant, SubjectId("s"), "POST /v1/x", "k"), "digest")
    with pytest.raises(OutcomeUnknownError):
        await once.run(201, work)
    with pytest.raises(ConflictError, match="under way"):
        await once.run(201, work)
    assert len(done) == 1


async def test_a_file_handed_in_again_is_taken_once(gateway: Gateway) -> None:
    """Its body is never the same twice: every client puts another line between the parts."""
    address, headers = "/v1/collections/hr/documents", {**gateway.token("hr-partner"), **KEY}

    async def sent(text: bytes, **fields: str) -> Response:
        return await gateway.client.post(address, files={"file": ("note.md", text, "text/markdown")}, data=fields, headers=headers)

    first = await sent(b"A note.", title="One")
    assert first.status_code == 202, first.text
    assert (await sent(b"A note.", title="One")).json() == first.json()
    assert_problem(await sent(b"A note.", title="Two"), 409, "conflict")
    assert_problem(await sent(b"Another note.", title="One"), 409, "conflict")


@pytest.mark.parametrize("external_id", [None, " ", "\u200b", "\u00ad"])
async def test_a_batch_that_broke_off_is_finished_by_a_repeat(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, external_id: str | None
) -> None:
    """Its key was free again, and lines without a name of their own became second documents; one of blanks is none."""
    headers, address = {**gateway.token("hr-partner"), **KEY}, "/v1/collections/hr/documents:batch"
    lines = b"".join(json.dumps({"text": f"Note {number}.", "external_id": external_id}).encode() + b"\n" for number in range(4))
    run, taken = SubmitDocument.run, []

    async def breaking(self: SubmitDocument, caller: Caller, submission: Submission) -> Submitted:
        if len(taken) == 2:
            message = "the database went away"
            raise UpstreamUnavailableError(message)
        taken.append(await run(self, caller, submission))
        return taken[-1]

    with monkeypatch.context() as patch:
        patch.setattr(SubmitDocument, "run", breaking)
        assert_problem(await gateway.client.post(address, content=lines, headers=headers), 503)
    again = (await gateway.client.post(address, content=lines, headers=headers)).json()["items"]
    assert [one["document_id"] for one in again[:2]] == [one.document_id for one in taken]
    assert [one["version"] for one in again] == [2, 2, 1, 1]
    other = (await gateway.client.post(address, content=lines, headers={**headers, "Idempotency-Key": "key-2"})).json()["items"]
    assert not {one["document_id"] for one in other} & {one["document_id"] for one in again}


async def test_a_run_that_lost_its_key_neither_answers_nor_frees_it(gateway: Gateway) -> None:
    services = gateway.services
    key = IdempotencyKey(services.tenant, SubjectId("s"), "POST /v1/x", "k")
    late = Once(services, key, "digest", datetime.now(UTC) - timedelta(minutes=3))
    assert await late.claim() is None
    next_one = Once(services, key, "digest")
    assert await next_one.claim() is None
    await late.keep(201, "late")
    await late.free()
    with pytest.raises(ConflictError, match="under way"):
        await Once(services, key, "digest").claim()
    await next_one.keep(201, "in time")
    assert await Once(services, key, "digest").claim() == "in time"
