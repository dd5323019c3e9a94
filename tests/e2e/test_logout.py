"""The issuer ends sessions (back-channel logout): on whatever replica it tells, the next request on any meets a closed door."""

import time
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.errors import NotAuthenticatedError
from app.storage.tables import web_session
from app.web.dependencies import COOKIE
from tests.conftest import BASE_URL, Gateway

columns = ("laptop", "company")
EVENT = {"http://schemas.openid.net/event/backchannel-logout": {}}


async def signed_in(gateway: Gateway, person: str, sid: str | None = None) -> httpx.AsyncClient:
    """A browser of its own with a session, opened as the callback opens it."""
    claims = await gateway.services.identity.tokens.verify(gateway.token(person)["Authorization"].removeprefix("Bearer "))
    secret, _ = await gateway.services.sign_ins.open({**claims, "sid": sid} if sid else claims, "req_test")
    browser = httpx.AsyncClient(transport=gateway.client._transport, base_url=BASE_URL, cookies={COOKIE: secret})
    browser.headers["accept"] = "text/html"
    assert (await browser.get("/ask")).status_code == 200
    return browser


def logout_token(gateway: Gateway, person: str = "engineer", kind: str = "logout+jwt", **changes: Any) -> str:  # noqa: ANN401 - claims
    demo = gateway.services.identity.demo
    assert demo is not None
    claims = {"sub": person, "aud": demo.address.client_id, "events": EVENT, **changes}
    return demo._sign({name: value for name, value in claims.items() if value is not None}, kind)


async def tell(gateway: Gateway, token: str) -> int:
    return (await gateway.client.post("/auth/back-channel-logout", data={"logout_token": token})).status_code


async def test_a_person_logged_out_by_the_issuer_is_out_everywhere_and_others_stay(gateway: Gateway) -> None:
    first, second, other = [await signed_in(gateway, who) for who in ("engineer", "engineer", "hr-partner")]
    assert await tell(gateway, logout_token(gateway)) == 200
    for _ in range(2):
        assert (await first.get("/ask")).status_code == 303
        assert (await second.get("/ask")).status_code == 303
        assert (await other.get("/ask")).status_code == 200
    async with gateway.services.database.read() as tx:
        rows = (await tx.connection.exec_driver_sql("SELECT count(*) FROM audit_event WHERE type = 'auth.logout'")).scalar_one()
    assert rows == 2


async def test_the_end_of_one_session_of_the_issuer_leaves_the_person_their_others(gateway: Gateway) -> None:
    phone, desk = await signed_in(gateway, "engineer", "phone"), await signed_in(gateway, "engineer", "desk")
    assert await tell(gateway, logout_token(gateway, sub=None, sid="phone")) == 200
    assert [(await one.get("/ask")).status_code for one in (phone, phone, desk)] == [303, 303, 200]


async def test_the_end_of_a_persons_session_ends_those_of_theirs_that_have_no_name(gateway: Gateway) -> None:
    """The issuer named person and session; ours, opened with a token without a name, may be the one meant, and went on."""
    who = (("engineer", None), ("engineer", "phone"), ("engineer", "desk"), ("hr-partner", None))
    browsers = [await signed_in(gateway, *one) for one in who]
    assert await tell(gateway, logout_token(gateway, sid="phone")) == 200
    assert [(await one.get("/ask")).status_code for one in browsers] == [303, 303, 200, 200]


async def test_a_replica_whose_clock_is_ahead_or_whose_build_is_older_saves_nobody(gateway: Gateway) -> None:
    """When a session began is told by the issuer's clock; the build before this one kept neither that nor the issuer's name for it."""
    ahead, older, named = [await signed_in(gateway, *who) for who in (("engineer", None), ("hr-partner", "desk"), ("engineer", "phone"))]
    await signed_in(gateway, "works-council")
    async with gateway.services.database.write() as tx:
        later = datetime(2099, 1, 1, tzinfo=UTC)
        await tx.connection.execute(update(web_session).values(created_at=later, expires_at=later))
        older_build = update(web_session).where(web_session.c.subject_id.endswith("|hr-partner"))
        await tx.connection.execute(older_build.values(issued_at=None, sid_digest=None))
        broken = update(web_session).where(web_session.c.subject_id.endswith("|works-council"))
        await tx.connection.execute(broken.values(issued_at=None, claims={"iat": 1e300, "sid": "\ud800 \x00"}))
    assert await tell(gateway, logout_token(gateway, sub=None, sid="desk")) == 200
    assert [(await one.get("/ask")).status_code for one in (older, ahead, named)] == [303, 200, 200]
    assert await tell(gateway, logout_token(gateway)) == 200
    assert [(await one.get("/ask")).status_code for one in (ahead, named)] == [303, 303]


@pytest.mark.parametrize("named", [{"sid": "phone"}, {"sid": "phone", "sub": None}, {}])
async def test_a_sign_in_under_way_while_the_issuer_ends_its_session_opens_none(gateway: Gateway, named: dict[str, Any]) -> None:
    """The code was exchanged before the end, the session would open after it, on whatever replica."""
    services = gateway.services
    token = gateway.token("engineer")["Authorization"].removeprefix("Bearer ")
    claims = {**await services.identity.tokens.verify(token), "sid": "phone"}
    unnamed, other = {**claims, "sid": None}, {**claims, "sid": "desk"}
    ended = logout_token(gateway, **named)
    assert await tell(gateway, ended) == 200
    with pytest.raises(NotAuthenticatedError):
        await services.sign_ins.open(claims, "req_test")
    async with services.database.read() as tx:
        assert (await tx.connection.exec_driver_sql("SELECT count(*) FROM web_session")).scalar_one() == 0
    # What bears no name is meant where the person is named; another session only where no session is.
    for one, opens in ((unnamed, named.get("sub", "") is None), (other, bool(named))):
        with nullcontext() if opens else pytest.raises(NotAuthenticatedError):
            await services.sign_ins.open(one, "req_test")
    await services.sign_ins.open({**unnamed, "iat": claims["iat"] + 60}, "req_test")


async def test_a_token_sent_twice_ends_nothing_that_began_after_it(gateway: Gateway) -> None:
    await signed_in(gateway, "engineer")
    token = logout_token(gateway)
    assert await tell(gateway, token) == 200
    time.sleep(2.1)  # noqa: ASYNC251 - past the second in which the token was made
    again = await signed_in(gateway, "engineer")
    assert await tell(gateway, token) == 200
    assert (await again.get("/ask")).status_code == 200


NO_LOGOUTS: tuple[dict[str, Any], ...] = (
    {"events": None},
    {"events": "http://schemas.openid.net/event/backchannel-logout"},
    {"events": {"http://example.org/other": {}}},
    {"nonce": "n"},
    {"aud": "somebody-else"},
    {"sub": None},
    {"sub": ""},
    {"sid": 7},
    {"kind": "at+jwt"},
)


async def test_a_token_that_is_no_logout_ends_nothing(gateway: Gateway) -> None:
    browser = await signed_in(gateway, "engineer")
    for changes in NO_LOGOUTS:
        assert await tell(gateway, logout_token(gateway, **changes)) == 400, changes
        assert (await browser.get("/ask")).status_code == 200, changes


async def test_nonsense_is_refused(gateway: Gateway) -> None:
    for token in ("", "a.b.c", "x" * 20_000, "ü.ü.ü"):
        assert await tell(gateway, token) == 400, token[:10]


async def test_neither_an_access_token_nor_a_stranger_logs_anybody_out(gateway: Gateway) -> None:
    browser = await signed_in(gateway, "engineer")
    access = gateway.token("engineer")["Authorization"].removeprefix("Bearer ")
    header, payload, signature = logout_token(gateway).split(".")
    forged = ".".join([header, payload, signature[:-4] + ("AAAA" if signature[-4:] != "AAAA" else "BBBB")])
    for token in (access, forged):
        assert await tell(gateway, token) == 400
    assert (await browser.get("/ask")).status_code == 200
