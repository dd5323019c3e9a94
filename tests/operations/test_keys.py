"""Keys changed as docs/operations/keys.md says: what held before holds after, and nothing is released in between."""

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

from app.audit.log import log_name
from app.govern.receipts import receipt_problem
from app.wiring import Models, sign_forever, signer_key
from tests.conftest import Gateway, gateway_in, login_in, services_noted_in, settings_in
from tests.e2e.attack import assert_problem, trail
from tests.operations.restoring import resume

columns = ("company",)
QUESTION = {"question": "How much parental leave do I get?"}


async def receipt_of(gateway: Gateway, answer: dict[str, Any]) -> dict[str, Any]:
    receipt: dict[str, Any] = (await gateway.get(f"/v1/receipts/{answer['receipt']['receipt_id']}", "engineer")).json()
    return receipt


async def test_after_a_change_of_the_signing_key_old_receipts_hold_under_the_old_one_and_new_ones_under_the_new(
    company: Path, models: Models
) -> None:
    """Without a new entry nothing would be signed anew, and each gateway would wait for a checkpoint of a key that signs nothing."""
    async with gateway_in(company, models) as gateway:
        answer = (await gateway.post("/v1/answers", "engineer", QUESTION)).json()
        receipt, old = await receipt_of(gateway, answer), gateway.services.audit.verifier_key(gateway.services.tenant)
        await gateway.services.audit.checkpoint(gateway.services.tenant)
    (company / "signer" / "signing.key").rename(company / "old.key")
    new = signer_key(settings_in(company))
    assert new != old
    async with gateway_in(company, models, verifier_key=new) as gateway:
        assert_problem(await gateway.post("/v1/answers", "engineer", QUESTION), 503, "audit_unavailable")
    signed = company / "signer" / "checkpoints.txt"
    before = signed.stat().st_size
    status, words = await asyncio.to_thread(resume, company, services_noted_in(company), "--reason", "new signing key")
    assert status == 0, words
    assert signed.stat().st_size > before
    signer = asyncio.create_task(sign_forever(settings_in(company, **login_in(company, "signer"))))
    try:
        async with gateway_in(company, models, verifier_key=new) as gateway:
            later = (await gateway.post("/v1/answers", "engineer", QUESTION)).json()
            assert receipt_problem(await receipt_of(gateway, later), later["answer"], new) is None
            assert receipt_problem(await receipt_of(gateway, answer), answer["answer"], new) is None
            assert receipt_problem(receipt, answer["answer"], old) is None
            assert receipt_problem(receipt, answer["answer"], new) is not None
            report = await gateway.services.trail.verify(gateway.services.tenant)
            assert report.is_intact, report.problems
            assert report.log == log_name(gateway.services.tenant)
    finally:
        signer.cancel()
        await asyncio.gather(signer, return_exceptions=True)


async def test_a_new_digest_key_breaks_no_proof_and_finds_only_what_was_asked_since(company: Path, models: Models) -> None:
    async with gateway_in(company, models) as gateway:
        answer = (await gateway.post("/v1/answers", "engineer", QUESTION)).json()
    key = base64.b64encode(os.urandom(32)).decode()
    async with gateway_in(company, models, digest_key=key) as gateway:
        await gateway.post("/v1/answers", "engineer", QUESTION)
        digests = [one["fields"]["query_hmac"] for one in await trail(gateway.services) if one["type"] == "retrieval.executed"]
        assert digests[-1] != digests[-2]
        assert receipt_problem(await receipt_of(gateway, answer), answer["answer"]) is None
        assert (await gateway.services.trail.verify(gateway.services.tenant)).is_intact
