"""A node with TLS and accounts: how the gateway signs in, whom it trusts, and what its account may not do."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import app.index.opensearch.rules as rules_module
from app.domain.access import WholeTenant
from app.domain.identity import TenantId
from app.errors import ConfigurationError, UpstreamUnavailableError
from app.index.opensearch.engine import OpenSearchIndex, open_opensearch_index
from app.index.opensearch.rules import Login, OpenSearchRules
from tests.conformance.engines import DIM, EVERYTHING, documents, facts, find, publish, unit
from tests.conftest import missing
from tests.services.opensearch.jars import NotInstalledError
from tests.services.opensearch.nodes import OpenSearchNodes
from tests.services.opensearch.security import GATEWAY

pytestmark = pytest.mark.timeout(400)
ROLE = Path(rules_module.__file__).with_name("role.json")
OTHER = TenantId("other")


@pytest.fixture(scope="module")
def node() -> Iterator[OpenSearchNodes]:
    """One secured node, with the gateway's role as the product ships it and an account for the tenant acme."""
    try:
        made = OpenSearchNodes.make(is_secured=True, is_brief=True)
    except NotInstalledError as error:
        missing(f"no OpenSearch: {error}")
    try:
        made.start()
        api = "/_plugins/_security/api"
        made.call("PUT", f"{api}/roles/{GATEWAY}", json.loads(ROLE.read_text(encoding="utf-8")))
        account = {"password": made.passwords[GATEWAY], "attributes": {"tenant": "acme"}}
        made.call("PUT", f"{api}/internalusers/{GATEWAY}", account)
        made.call("PUT", f"{api}/internalusers/gateway", {"password": made.passwords[GATEWAY] + "x", "attributes": {"tenant": "acme"}})
        made.call("PUT", f"{api}/rolesmapping/{GATEWAY}", {"users": [GATEWAY, "gateway"]})
        yield made
    finally:
        made.remove()


def rules(node: OpenSearchNodes, **login: object) -> OpenSearchRules:
    known = Login(user=GATEWAY, password=node.passwords[GATEWAY], ca_file=node.authority)
    return OpenSearchRules(node.urls, DIM, replace(known, **login), replicas=0, timeout_s=30.0)


@pytest.fixture
async def engine(node: OpenSearchNodes) -> AsyncIterator[OpenSearchIndex]:
    opened = await open_opensearch_index(rules(node))
    yield opened
    await opened.close()


async def test_the_gateways_account_does_all_its_work_under_the_role_that_ships(engine: OpenSearchIndex) -> None:
    await publish(engine, facts("a"), "leave request")
    await publish(engine, facts("a"), "leave request anew", version=2)
    await engine.put_access(facts("a", acl_version=2))
    assert documents(await find(engine, "leave", EVERYTHING, vector=unit(0)[0])) == {"a"}
    assert await engine.respell("leeve requst", EVERYTHING, {}) == "leeve requst"
    assert [one.document_id for one in await engine.inventory(facts("a").tenant)] == ["a"]
    await engine.check()
    await engine.indexes.begin(facts("a").tenant)
    await engine.indexes.swap(facts("a").tenant)
    await engine.check()
    assert await engine.indexes.drop_other(facts("a").tenant)
    assert not await engine.indexes.drop_other(facts("a").tenant)
    assert documents(await find(engine, "leave", EVERYTHING)) == set()
    await engine.remove(facts("a").tenant, facts("a").document_id)


@pytest.mark.parametrize(
    "path", ["/_cluster/settings", "/_nodes", "/_cat/indices", "/_plugins/_security/api/roles", "/.opendistro_security/_search"]
)
async def test_the_gateways_account_cannot_look_around(engine: OpenSearchIndex, path: str) -> None:
    with pytest.raises(UpstreamUnavailableError, match="refused the gateway's account"):
        await engine.cluster.ask("GET", path)


async def test_the_role_alone_keeps_another_tenants_chunks_shut(engine: OpenSearchIndex, node: OpenSearchNodes) -> None:
    """The second wall: a chunk of another tenant that got into this tenant's index, or a filter without its tenant, shows nothing."""
    await publish(engine, facts("a"), "leave request")
    administrator = OpenSearchIndex(rules(node, user="admin", password=node.passwords["admin"]))
    try:
        await publish(administrator, facts("b", tenant=OTHER), "leave request")
        assert documents(await find(administrator, "leave", WholeTenant(OTHER))) == {"b"}
        stray = {"tenant": "other", "document_id": "stray", "version": 1, "chunk_id": "stray.1.0", "live": True}
        await administrator.cluster.ask("PUT", "/portcullis-acme/_doc/stray", stray, {"refresh": "true"})
        everything = {"query": {"match_all": {}}, "docvalue_fields": ["document_id"]}
        seen = await administrator.cluster.search_many("portcullis-acme", [everything])
        assert {hit["fields"]["document_id"][0] for hit in seen[0]["hits"]["hits"]} == {"a", "stray"}
        seen = await engine.cluster.search_many("portcullis-acme", [everything])
        assert {hit["fields"]["document_id"][0] for hit in seen[0]["hits"]["hits"]} == {"a"}
        with pytest.raises(UpstreamUnavailableError):
            await find(engine, "leave", WholeTenant(OTHER))
    finally:
        await administrator.cluster.ask("DELETE", "/portcullis-other*")
        await administrator.close()


async def test_an_account_has_no_power_over_a_tenant_whose_name_begins_like_its_own(engine: OpenSearchIndex, node: OpenSearchNodes) -> None:
    administrator, victim = OpenSearchIndex(rules(node, user="admin", password=node.passwords["admin"])), TenantId("acme2")
    try:
        await publish(administrator, facts("v", tenant=victim), "leave request")
        for method, path in (("DELETE", "/portcullis-acme2-g1"), ("PUT", "/portcullis-acme2-g1/_doc/x")):
            with pytest.raises(UpstreamUnavailableError, match="refused the gateway's account"):
                await engine.cluster.ask(method, path, {"tenant": "acme2"} if method == "PUT" else None)
        assert documents(await find(administrator, "leave", WholeTenant(victim))) == {"v"}
    finally:
        await administrator.cluster.ask("DELETE", "/portcullis-acme2-*")
        await administrator.close()


async def test_a_wrong_password_and_a_missing_one_are_refused(node: OpenSearchNodes) -> None:
    for login in ({"password": "wrong"}, {"user": ""}, {"user": "", "token": "no-token-of-ours"}):
        engine = OpenSearchIndex(rules(node, **login))
        with pytest.raises(UpstreamUnavailableError, match="refused the gateway's account"):
            await engine.check()
        await engine.close()


async def test_a_client_certificate_signs_in_without_a_password(node: OpenSearchNodes, engine: OpenSearchIndex) -> None:
    certificates = {"cert_file": node.folder / "certs" / "gateway.pem", "key_file": node.folder / "certs" / "gateway.key"}
    await publish(engine, facts("a"), "leave request")
    signed_in = OpenSearchIndex(rules(node, user="", password="", **certificates))
    try:
        found = await signed_in.cluster.ask("GET", "/_plugins/_security/authinfo")
        assert found is not None
        assert found["user_name"] == "gateway"
    finally:
        await signed_in.close()


async def test_a_server_of_another_authority_is_not_talked_to(node: OpenSearchNodes, tmp_path: Path) -> None:
    """Pinned to one authority: not even one the system trusts would do."""
    for authority in (None, _another_authority(tmp_path)):
        engine = OpenSearchIndex(rules(node, ca_file=authority))
        with pytest.raises(UpstreamUnavailableError):
            await engine.check()
        await engine.close()


def test_a_certificate_file_that_cannot_be_read_says_which_settings_to_look_at(node: OpenSearchNodes, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="opensearch_ca_file"):
        OpenSearchIndex(rules(node, ca_file=tmp_path / "none.pem"))


def _another_authority(folder: Path) -> Path:
    from tests.services.opensearch.security import make_certificates  # noqa: PLC0415 - needs openssl, as only this test does

    make_certificates(folder)
    return folder / "ca.pem"
