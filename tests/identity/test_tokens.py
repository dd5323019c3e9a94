"""Tokens that are not accepted, and the one that is. Every refusal reads alike to its sender."""

import time
from base64 import urlsafe_b64encode
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from cryptography.hazmat.primitives import serialization
from jose import jwt

from app.domain.identity import TenantId
from app.errors import AccessDeniedError, ConfigurationError, InvalidInputError, NotAuthenticatedError, UpstreamUnavailableError
from app.identity.demo_issuer import DemoIssuer, IssuerAddress
from app.identity.keys import Endpoints, RemoteKeys
from app.identity.sign_in import ClientRules, SignIn
from app.identity.subjects import ClaimNames, subject_from_claims, with_purpose
from app.identity.tokens import TokenRules, TokenVerifier
from app.sample import SamplePerson
from app.settings import load_settings
from app.storage.people_rows import LoginAttempt
from app.wiring.people import identity_for

ADDRESS = IssuerAddress("http://127.0.0.1:8080", "portcullis", "portcullis-api", is_demo=True)
ENGINEER = SamplePerson("engineer", "", ("all-employees",), ("lead",), "confidential", ("support",))


def _issuer(folder: Path, name: str = "key.pem") -> DemoIssuer:
    return DemoIssuer(ADDRESS, [ENGINEER], folder / name)


def _verifier(issuer: DemoIssuer, **rules: int | tuple[str, ...]) -> TokenVerifier:
    return TokenVerifier(TokenRules(ADDRESS.issuer, ADDRESS.audience, **rules), issuer)


def _signed(
    issuer: DemoIssuer, claims: dict[str, Any], header: dict[str, Any] | None = None, algorithm: str = "RS256", key: str | None = None
) -> str:
    now = int(time.time())
    whole = {"iss": ADDRESS.issuer, "aud": ADDRESS.audience, "sub": "engineer", "iat": now, "nbf": now, "exp": now + 60, **claims}
    whole = {name: value for name, value in whole.items() if value is not None}
    return str(jwt.encode(whole, key or issuer._key_pem, algorithm=algorithm, headers={"kid": issuer._kid, **(header or {})}))


async def test_a_valid_token_names_its_subject(tmp_path: Path) -> None:
    issuer = _issuer(tmp_path)
    claims = await _verifier(issuer).verify(issuer.access_token("engineer"))
    subject = subject_from_claims(claims, "sample", ClaimNames())
    assert subject.subject_id == f"{ADDRESS.issuer}|engineer"
    assert subject.principals == {f"user:{ADDRESS.issuer}|engineer", "group:sample|all-employees", "role:sample|lead"}
    assert subject.clearance == 2


@pytest.mark.parametrize(
    ("claims", "header"),
    [
        ({"iss": "http://elsewhere"}, {}),
        ({"aud": "another-api"}, {}),
        ({"aud": None}, {}),
        ({"exp": 1}, {}),
        ({"exp": None}, {}),
        ({"iat": None}, {}),
        ({"nbf": int(time.time()) + 3600}, {}),
        ({"exp": "tomorrow"}, {}),
        ({"sub": None}, {}),
        ({"sub": ""}, {}),
        ({"sub": 7}, {}),
        ({"sub": "a\x00b"}, {}),
        ({"sub": "x" * 256}, {}),
        ({"sub": "half \ud800"}, {}),
        ({"groups": ["half \ud800"]}, {}),
        ({"note": {"deep": ["a\x00b"]}}, {}),
        ({"note": float("inf")}, {}),
        ({"exp": float("inf")}, {}),
        ({"exp": 10**15}, {}),
        ({"iat": -1}, {}),
        ({"iat": float("nan")}, {}),
        ({"_claim_names": {"groups": "src1"}}, {}),
        ({}, {"kid": "unknown"}),
        ({}, {"kid": 7}),
        ({}, {"crit": ["b64"]}),
        ({}, {"jku": "http://127.0.0.1/keys"}),
        ({}, {"jwk": {"kty": "RSA"}}),
        ({}, {"typ": "id+jwt"}),
    ],
)
async def test_a_token_with_a_wrong_part_is_refused(tmp_path: Path, claims: dict[str, Any], header: dict[str, Any]) -> None:
    issuer = _issuer(tmp_path)
    with pytest.raises(NotAuthenticatedError):
        await _verifier(issuer).verify(_signed(issuer, claims, header))


async def test_none_and_a_public_key_used_as_a_secret_are_refused(tmp_path: Path) -> None:
    issuer = _issuer(tmp_path)
    public = serialization.load_pem_private_key(issuer._key_pem.encode(), None).public_key()
    pem = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo).hex()
    whole = _signed(issuer, {})
    head, body, _ = whole.split(".")
    none = urlsafe_b64encode(b'{"alg":"none","kid":"' + issuer._kid.encode() + b'"}').rstrip(b"=").decode()
    for token in (_signed(issuer, {}, algorithm="HS256", key=pem), f"{none}.{body}.", f"{head}.{body}.", f"{head}.{body}.AAAA"):
        with pytest.raises(NotAuthenticatedError):
            await _verifier(issuer).verify(token)


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "a.b.c.d", "é.é.é", "x" * 20_000, "....", "null.null.null", "\x00.\x00.\x00"])
async def test_nonsense_is_refused_without_a_crash(tmp_path: Path, token: str) -> None:
    with pytest.raises(NotAuthenticatedError):
        await _verifier(_issuer(tmp_path)).verify(token)


async def test_the_clock_may_differ_by_the_leeway_and_no_more(tmp_path: Path) -> None:
    issuer, now = _issuer(tmp_path), int(time.time())
    await _verifier(issuer, leeway_s=30).verify(_signed(issuer, {"exp": now - 10}))
    with pytest.raises(NotAuthenticatedError):
        await _verifier(issuer, leeway_s=30).verify(_signed(issuer, {"exp": now - 60}))


def test_a_symmetric_algorithm_cannot_be_configured(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="asymmetric"):
        _verifier(_issuer(tmp_path), algorithms=("HS256",))


async def test_a_rotated_key_is_fetched_once_and_strangers_cannot_make_us_fetch_often(tmp_path: Path) -> None:
    old, new = _issuer(tmp_path, "old.pem"), _issuer(tmp_path, "new.pem")
    published, asked = [old], []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, json=old.discovery() if "openid" in request.url.path else published[0].jwks())

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        keys = RemoteKeys(ADDRESS.issuer, client)
        verifier = TokenVerifier(TokenRules(ADDRESS.issuer, ADDRESS.audience), keys)
        await verifier.verify(old.access_token("engineer"))
        published[0] = new
        for _ in range(50):
            with pytest.raises(NotAuthenticatedError):
                await verifier.verify(new.access_token("engineer"))
        assert asked.count("/demo-issuer/jwks") == 1
        keys._fetched_at -= 11
        await verifier.verify(new.access_token("engineer"))
        with pytest.raises(NotAuthenticatedError):
            await verifier.verify(old.access_token("engineer"))
        assert asked.count("/demo-issuer/jwks") == 2


@pytest.mark.parametrize("status", [500, 404, 200])
async def test_an_issuer_that_does_not_answer_is_no_wrong_token(status: int) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, text="nonsense"))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(UpstreamUnavailableError):
            await RemoteKeys(ADDRESS.issuer, client).key("kid")


async def test_discovery_that_names_another_issuer_is_refused(tmp_path: Path) -> None:
    issuer = _issuer(tmp_path)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={**issuer.discovery(), "issuer": "http://elsewhere"}))
    async with httpx.AsyncClient(transport=transport) as client:
        with pytest.raises(UpstreamUnavailableError):
            await RemoteKeys(ADDRESS.issuer, client).endpoints()


@pytest.mark.parametrize(
    "base_url", ["http://gateway.example.org", "http://10.0.0.1:8080", "http://0.0.0.0:8080", "http://127.0.0.1.example.org"]
)
def test_the_demo_issuer_refuses_to_exist_off_loopback(tmp_path: Path, base_url: str) -> None:
    with pytest.raises(ConfigurationError):
        DemoIssuer(IssuerAddress(base_url, "a", "b", is_demo=True), [ENGINEER], tmp_path / "key.pem")


def test_the_demo_issuer_refuses_to_exist_outside_demo_mode(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        DemoIssuer(IssuerAddress(ADDRESS.base_url, "a", "b", is_demo=False), [ENGINEER], tmp_path / "key.pem")


def test_a_code_works_once_and_only_with_its_verifier(tmp_path: Path) -> None:
    issuer, verifier = _issuer(tmp_path), "v" * 64
    query = {
        "client_id": "portcullis",
        "redirect_uri": f"{ADDRESS.base_url}/auth/callback",
        "response_type": "code",
        "code_challenge": create_s256_code_challenge(verifier),
        "code_challenge_method": "S256",
        "state": "s",
        "nonce": "n",
    }
    form = {"grant_type": "authorization_code", "redirect_uri": query["redirect_uri"], "client_id": "portcullis"}
    assert issuer.exchange({**form, "code": issuer.grant(query, "engineer"), "code_verifier": "w" * 64}) is None
    code = issuer.grant(query, "engineer")
    assert issuer.exchange({**form, "code": code, "code_verifier": verifier}) is not None
    assert issuer.exchange({**form, "code": code, "code_verifier": verifier}) is None
    for name, value in (("redirect_uri", "http://127.0.0.1:9/x"), ("code_challenge_method", "plain"), ("client_id", "x"), ("nonce", "")):
        with pytest.raises(InvalidInputError):
            issuer.grant({**query, name: value}, "engineer")
    with pytest.raises(InvalidInputError):
        issuer.grant(query, "nobody")


async def test_an_authority_that_cannot_be_read_is_named_and_an_empty_one_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTCULLIS_OIDC_CA_FILE", "")
    settings = load_settings(data=tmp_path, oidc_issuer="https://issuer.example")
    assert settings.oidc_ca_file is None
    (tmp_path / "junk.pem").write_text("no certificate", encoding="utf-8")
    async with AsyncExitStack() as stack:
        identity_for(settings, stack)
        for name in (".", "nowhere.pem", "junk.pem", "a\0b"):
            with pytest.raises(ConfigurationError, match="PORTCULLIS_OIDC_CA_FILE"):
                identity_for(settings.model_copy(update={"oidc_ca_file": tmp_path / name}), stack)


def test_a_purpose_must_be_assigned(tmp_path: Path) -> None:
    del tmp_path
    claims = {"iss": "i", "sub": "a", "purposes": ["support"]}
    subject = subject_from_claims(claims, "sample", ClaimNames())
    assert with_purpose(subject, "support").purpose == "support"
    assert with_purpose(subject, None).purpose == "none"
    with pytest.raises(AccessDeniedError):
        with_purpose(subject, "audit")


@pytest.mark.parametrize("claims", [{"clearance": "top"}, {"clearance": 3}, {"clearance": ["secret"]}, {}])
def test_an_unknown_clearance_is_the_lowest(claims: dict[str, Any]) -> None:
    assert subject_from_claims({"iss": "i", "sub": "a", **claims}, "sample", ClaimNames()).clearance == 0


@pytest.mark.parametrize("groups", [{"a": 1}, [1], [""], ["x" * 600], ["g"] * 1_001, 7])
def test_groups_that_cannot_be_used_refuse_the_token(groups: object) -> None:
    with pytest.raises(NotAuthenticatedError):
        subject_from_claims({"iss": "i", "sub": "a", "groups": groups}, "sample", ClaimNames())


async def test_an_identity_token_is_taken_with_the_access_token_it_names_and_with_no_other(tmp_path: Path) -> None:
    """Keycloak, Entra and Okta put `at_hash` into identity tokens: without the access token beside it each sign-in was refused."""
    issuer = _issuer(tmp_path)
    own, other = issuer.access_token("engineer"), issuer.access_token("engineer")
    named = issuer._sign({"sub": "engineer", "aud": ADDRESS.audience}, "JWT", access_token=own)
    verifier = _verifier(issuer)
    assert (await verifier.verify(named, own))["sub"] == "engineer"
    with pytest.raises(NotAuthenticatedError):
        await verifier.verify(named, other)


async def test_a_sign_in_service_that_is_away_when_the_code_is_exchanged_is_said_to_be_away(tmp_path: Path) -> None:
    """Authlib uses the successor of httpx where it finds it, whose errors are none of httpx's: they came out as an unknown failure."""
    issuer = _issuer(tmp_path)

    class Away:
        async def endpoints(self) -> Endpoints:
            return Endpoints(
                "http://127.0.0.1:1", "http://127.0.0.1:1/authorize", "http://127.0.0.1:1/token", "http://127.0.0.1:1/keys", None
            )

    sign_in = SignIn(ClientRules("portcullis"), _verifier(issuer), _verifier(issuer), Away())
    attempt = LoginAttempt(TenantId("sample"), "s", "n", "v" * 48, "/", datetime.now(UTC))
    with pytest.raises(UpstreamUnavailableError):
        await sign_in.finish(attempt, "http://127.0.0.1:8080/auth/callback", "code")
