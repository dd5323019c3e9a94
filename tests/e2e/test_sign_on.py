"""Who asks is told by a verified token of the issuer and by nothing else; a browser signs in through the issuer and only so."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jose import jwt

from app.main import create_app
from app.web.dependencies import COOKIE
from app.wiring import Models
from tests.conftest import Gateway, settings_in
from tests.e2e.attack import assert_problem, faceless

QUESTION = {"question": "How much parental leave do I get?"}


def foreign_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def forged(
    gateway: Gateway, change: dict[str, Any], *, key: str = "", algorithm: str = "RS256", headers: dict[str, Any] | None = None
) -> str:
    """A token like a real one of the engineer, changed, signed with the issuer's key or another."""
    real = gateway.token("engineer")["Authorization"].removeprefix("Bearer ")
    claims = {**jwt.get_unverified_claims(real), **change}
    claims = {name: value for name, value in claims.items() if value is not None}
    key = key or (gateway.services.settings.data / "demo-issuer.pem").read_text(encoding="ascii")
    return jwt.encode(claims, key, algorithm=algorithm, headers={**jwt.get_unverified_header(real), **(headers or {})})


def bad_tokens(gateway: Gateway) -> dict[str, str | None]:
    real = gateway.token("engineer")["Authorization"].removeprefix("Bearer ")
    head, body, signature = real.split(".")
    now = int(time.time())
    public = str(gateway.services.identity.demo and gateway.services.identity.demo.jwks()["keys"][0]["n"])
    none_head = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"
    return {
        "none": None,
        "empty": "Bearer ",
        "basic": "Basic ZW5naW5lZXI6eA==",
        "garbage": "Bearer not-a-token",
        "expired": "Bearer " + forged(gateway, {"exp": now - 120, "iat": now - 4000, "nbf": now - 4000}),
        "not yet": "Bearer " + forged(gateway, {"nbf": now + 3600}),
        "without end": "Bearer " + forged(gateway, {"exp": None}),
        "other audience": "Bearer " + forged(gateway, {"aud": "another-service"}),
        "other issuer": "Bearer " + forged(gateway, {"iss": "https://elsewhere.example"}),
        "without subject": "Bearer " + forged(gateway, {"sub": None}),
        "empty subject": "Bearer " + forged(gateway, {"sub": ""}),
        "foreign key": "Bearer " + forged(gateway, {}, key=foreign_key()),
        "unknown kid": "Bearer " + forged(gateway, {}, headers={"kid": "another"}),
        "alg none": f"Bearer {none_head}.{body}.",
        "hmac with public key": "Bearer " + forged(gateway, {}, key=public, algorithm="HS256"),
        "embedded key": "Bearer " + forged(gateway, {}, headers={"jwk": {"kty": "RSA"}}),
        "cut signature": f"Bearer {head}.{body}.{signature[:-4]}AAAA",
        "changed body": f"Bearer {head}.{body[:-6]}AAAAAA.{signature}",
        "groups left out": "Bearer " + forged(gateway, {"_claim_names": {"groups": "src1"}}),
        "groups unusable": "Bearer " + forged(gateway, {"groups": {"all": True}}),
        "id token": "Bearer " + forged(gateway, {"aud": "portcullis"}, headers={"typ": "JWT"}),
        "huge": "Bearer " + "a" * 60_000,
        "non-ascii": "Bearer ä.ö.ü",
    }


async def test_every_bad_token_meets_the_same_refusal_byte_for_byte(gateway: Gateway) -> None:
    seen: dict[str, str] = {}
    for name, value in bad_tokens(gateway).items():
        headers = {} if value is None else {"Authorization": value.encode("latin-1")}
        response = await gateway.client.post("/v1/answers", json=QUESTION, headers=headers)
        assert_problem(response, 401, "not_authenticated")
        assert response.headers["www-authenticate"].startswith("Bearer")
        seen.setdefault(repr(faceless(response)), name)
    assert len(seen) == 1, seen


async def test_nothing_but_the_token_tells_who_asks(gateway: Gateway) -> None:
    headers = {
        "X-User": "hr-partner",
        "X-Forwarded-User": "hr-partner",
        "X-Remote-User": "hr-partner",
        "X-Subject": "hr-partner",
        "X-Groups": "people-team",
        "X-Roles": "hr-partner",
        "X-Tenant": "other",
        "X-Clearance": "secret",
        "X-Original-URL": "/v1/me?as=hr-partner",
        "X-HTTP-Method-Override": "DELETE",
        "Cookie": f"{COOKIE}=hr-partner; user=hr-partner",
    }
    plain = await gateway.get("/v1/me", "engineer")
    dressed = await gateway.get("/v1/me?user=hr-partner&tenant=other&subject_id=x", "engineer", **headers)
    assert plain.json() == dressed.json()
    assert plain.json()["roles"] == []
    for field in ("tenant", "subject", "subject_id", "user", "groups", "roles", "clearance", "principals"):
        assert_problem(await gateway.post("/v1/answers", "engineer", {**QUESTION, field: "hr-partner"}), 422, "invalid_input")


async def test_claims_that_are_missing_give_less_never_more(gateway: Gateway) -> None:
    bare = forged(gateway, {"groups": None, "roles": None, "clearance": None, "purposes": None})
    me = await gateway.client.get("/v1/me", headers={"Authorization": f"Bearer {bare}"})
    assert me.json()["clearance"] == "public"
    assert me.json()["collections"] == []
    answer = await gateway.client.post("/v1/answers", json=QUESTION, headers={"Authorization": f"Bearer {bare}"})
    assert_problem(answer, 403, "access_denied")
    odd = forged(gateway, {"clearance": "cosmic"})
    assert (await gateway.client.get("/v1/me", headers={"Authorization": f"Bearer {odd}"})).json()["clearance"] == "public"


@pytest.mark.parametrize("purpose", ["case-work", "audit", "NONE", "incident response", "*", "a" * 300])
async def test_a_purpose_that_is_not_assigned_is_refused(gateway: Gateway, purpose: str) -> None:
    for response in (
        await gateway.post("/v1/answers", "engineer", QUESTION, **{"X-Purpose": purpose}),
        await gateway.get("/v1/me", "engineer", **{"X-Purpose": purpose}),
    ):
        assert_problem(response, 403, "access_denied")
        assert purpose not in response.text


async def test_a_purpose_in_the_body_is_judged_as_one_in_the_header(gateway: Gateway) -> None:
    assert_problem(await gateway.post("/v1/answers", "engineer", {**QUESTION, "purpose": "case-work"}), 403, "access_denied")
    mine = await gateway.post("/v1/answers", "engineer", {**QUESTION, "purpose": "incident-response"})
    assert mine.status_code == 200


# ---- pages ----


async def signed_in(gateway: Gateway, name: str) -> httpx.AsyncClient:
    """A browser that holds a session, opened as the callback opens it."""
    claims = await gateway.services.identity.tokens.verify(gateway.token(name)["Authorization"].removeprefix("Bearer "))
    secret, _ = await gateway.services.sign_ins.open(claims, "req_test")
    gateway.client.cookies.set(COOKIE, secret)
    gateway.client.headers["accept"] = "text/html"
    return gateway.client


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf_token"\s+value="([^"]+)"', page)
    assert found is not None, page[:2000]
    return found[1]


async def test_a_session_cookie_opens_no_programming_interface(gateway: Gateway) -> None:
    browser = await signed_in(gateway, "engineer")
    assert (await browser.get("/ask")).status_code == 200
    for path in ("/v1/me", "/v1/documents", "/v1/conversations", "/v1/collections"):
        assert_problem(await browser.get(path), 401, "not_authenticated")
    assert_problem(await browser.post("/v1/answers", json=QUESTION), 401, "not_authenticated")


async def test_every_form_that_changes_something_needs_the_token_of_its_session(gateway: Gateway) -> None:
    browser = await signed_in(gateway, "engineer")
    asked = await browser.post("/ask", data={"question": QUESTION["question"], "csrf_token": csrf_of((await browser.get("/ask")).text)})
    answer_page = asked.headers["location"]
    answer_id = answer_page.rsplit("/", 1)[-1]
    mine = (await gateway.client.get("/v1/answers/" + answer_id, headers=gateway.token("engineer"))).json()
    forms = {
        "/ask": {"question": "How much parental leave do I get?"},
        f"/answers/{answer_id}/feedback": {"verdict": "wrong"},
        "/access-requests": {"document_hint": "memo", "reason": "work"},
        f"/conversations/{mine['conversation_id']}/delete": {},
        "/jobs/job_1/retry": {},
        "/jobs/job_1/cancel": {},
        "/theme": {"theme": "dark"},
        "/sign-out": {},
    }
    posting = {
        path
        for route in gateway.client._transport.app.routes
        for path in [getattr(route, "path", "")]
        if "POST" in (getattr(route, "methods", None) or ()) and not path.startswith(("/v1", "/demo-issuer", "/auth/back-channel-logout"))
    }
    shapes = {re.sub(r"(ans|cnv|job)_[0-9a-f-]+", "*", path) for path in forms}
    assert {re.sub(r"\{[a-z_]+\}", "*", path) for path in posting} <= shapes, "a form without its row"
    other = await signed_in(gateway, "hr-partner")
    foreign = csrf_of((await other.get("/ask")).text)
    browser = await signed_in(gateway, "engineer")
    for path, fields in forms.items():
        for token in ({}, {"csrf_token": ""}, {"csrf_token": foreign}, {"csrf_token": "x" * 43}, {"csrf_token": "ü\ud7ff"}):
            response = await browser.post(path, data={**fields, **token})
            assert response.status_code == 403, f"{path} with {token}: {response.status_code}"
    assert (await browser.get(answer_page)).status_code == 200


@pytest.fixture
async def served(company: Path, models: Models) -> AsyncIterator[str]:
    """The gateway behind a real loopback socket, so that it can reach its own issuer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    application = create_app(settings_in(company, port=port), models)
    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=port, log_level="error", access_log=False))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - the server has no event to wait for
        await asyncio.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await task


async def test_a_browser_signs_in_with_the_issuer_and_out_again(served: str) -> None:
    async with httpx.AsyncClient(base_url=served, headers={"accept": "text/html"}, follow_redirects=False) as browser:
        turned_away = await browser.get("/ask")
        assert turned_away.status_code == 303
        assert turned_away.headers["location"].startswith("/sign-in?next=/ask")
        start = await browser.get("/sign-in/start", params={"next": "/documents", "as": "engineer"})
        at_issuer = await browser.get(start.headers["location"])
        back = at_issuer.headers["location"]
        query = parse_qs(urlsplit(start.headers["location"]).query)
        assert query["code_challenge_method"] == ["S256"]
        signed = await browser.get(back)
        assert signed.status_code == 303
        assert signed.headers["location"] == "/documents"
        cookie = next(one for one in signed.headers.get_list("set-cookie") if one.startswith(COOKIE))
        assert "httponly" in cookie.lower()
        assert "samesite=lax" in cookie.lower()
        page = await browser.get("/ask")
        assert page.status_code == 200

        again = await browser.get(back)
        assert again.status_code == 401, "a code and a state work once"
        out = await browser.post("/sign-out", data={"csrf_token": csrf_of(page.text)})
        assert out.status_code == 303
        browser.cookies.set(COOKIE, cookie.split(";")[0].partition("=")[2])
        assert (await browser.get("/ask")).status_code == 303, "a session that was ended stays ended, whoever kept its cookie"


ELSEWHERE = (
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example/",
    "\\\\evil.example",
    "javascript:alert(1)",
    "/%0d%0aLocation:https://evil.example",
    "/ok\r\nSet-Cookie: a=b",
    "///evil.example",
    "/\t/evil.example",
    "http:evil.example",
    " //evil.example",
    "/" + "a" * 4000,
)


async def test_signing_in_leads_back_to_this_gateway_only(served: str) -> None:
    for target in ELSEWHERE:
        async with httpx.AsyncClient(base_url=served, headers={"accept": "text/html"}) as browser:
            page = await browser.get("/sign-in", params={"next": target})
            assert "javascript:alert" not in page.text
            start = await browser.get("/sign-in/start", params={"next": target, "as": "engineer"})
            back = (await browser.get(start.headers["location"])).headers["location"]
            end = (await browser.get(back)).headers["location"]
            assert end.startswith("/"), target
            assert httpx.URL(served).join(end).host == "127.0.0.1", target
            assert not set(end) & set("\r\n\t\\"), target


async def test_a_return_from_the_issuer_that_this_browser_did_not_start_is_refused(served: str) -> None:
    """Login cross-site request forgery: an attacker's own code, handed to somebody else's browser."""
    page = {"accept": "text/html"}
    async with httpx.AsyncClient(base_url=served, headers=page) as attacker, httpx.AsyncClient(base_url=served) as victim:
        start = await attacker.get("/sign-in/start", params={"as": "hr-partner"})
        back = (await attacker.get(start.headers["location"])).headers["location"]
        refused = await victim.get(back)
        assert_problem(refused, 401, "not_authenticated")
        assert COOKIE not in victim.cookies
        for query in ("", "?code=x", "?state=x", "?code=x&state=", "?error=access_denied&state=y"):
            assert_problem(await victim.get(f"/auth/callback{query}"), 401, "not_authenticated")
