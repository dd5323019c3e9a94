"""Signing in through a real Keycloak with the realm file that ships: over TLS, by browser, out again by either side."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.conftest import ROOT, missing
from tests.e2e.browsing import chromium
from tests.services import keycloak
from tests.services.keycloak import Keycloak
from tests.services.opensearch.jars import NotInstalledError
from tests.ship.conftest import COMPOSE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PASSWORD, SECRET = "a-password-for-everybody", "a-secret-between-the-two"
LEAVE = "How much parental leave do I get?"
CLOSED = "What is the plan for the Hamburg site next year?"


@dataclass(frozen=True)
class Company:
    """A gateway in a process of its own, its issuer, and a browser before both."""

    address: str
    issuer: Keycloak
    browser: Browser

    def window(self) -> BrowserContext:
        """A fresh browser; it trusts whatever certificate it meets."""
        return self.browser.new_context(ignore_https_errors=True)

    def sign_in(self, window: BrowserContext, person: str, password: str = PASSWORD) -> Page:
        """From the gateway's door through the issuer's form."""
        page = window.new_page()
        page.goto(f"{self.address}/ask")
        page.get_by_role("link", name="Continue with single sign-on").click()
        page.fill("#username", person)
        page.fill("#password", password)
        page.click("#kc-login")
        return page

    def ask(self, page: Page, question: str) -> str:
        """The text of an answer's page."""
        page.fill("#q", question)
        page.locator("#q-form button[type=submit]").click()
        page.wait_for_url(lambda url: "/answers/" in url)
        page.wait_for_selector("#answer:not([aria-busy=true])")
        return page.locator("#answer").inner_text()


@pytest.fixture(scope="module")
def company(seeded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """The sample company behind Keycloak."""
    if os.environ.get("PORTCULLIS_TEST_LAPTOP"):
        missing("Keycloak is left out by make test-laptop; make test runs this")
    folder = tmp_path_factory.mktemp("keycloak")
    shutil.copytree(seeded, folder / "data")
    try:
        home = keycloak.fetch()
    except NotInstalledError as error:
        missing(str(error))
        raise
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    certificate = _certificate(folder)
    variables = {"GATEWAY_URL": address, "GATEWAY_INSIDE_URL": address, "OIDC_CLIENT_SECRET": SECRET, "PEOPLE_PASSWORD": PASSWORD}
    realm = COMPOSE / "keycloak" / "realm.json"
    with keycloak.serving(home, realm, certificate, variables) as issuer, (folder / "log").open("wb") as words:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PORTCULLIS_")},
            "PORTCULLIS_DATA": str(folder / "data"),
            "PORTCULLIS_PORT": address.rpartition(":")[2],
            "PORTCULLIS_OIDC_ISSUER": issuer.issuer,
            "PORTCULLIS_OIDC_CA_FILE": str(issuer.authority),
            "PORTCULLIS_OIDC_CLIENT_SECRET": SECRET,
        }
        command = [sys.executable, "-c", "from app.cli import main; main()", "serve"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=words, stderr=words)
        try:
            _until_ready(address, process, folder / "log")
            with sync_playwright() as playwright:
                browser = chromium(playwright)
                yield Company(address, issuer, browser)
                browser.close()
        finally:
            process.terminate()
            process.wait(30)


def test_each_person_signs_in_and_is_shown_what_the_realm_says_they_may_read(company: Company) -> None:
    with company.window() as window:
        page = company.sign_in(window, "engineer")
        expect(page).to_have_url(f"{company.address}/ask")
        expect(page.locator(".whoami strong")).to_have_text("engineer")
        assert "sixteen weeks" in company.ask(page, LEAVE)
    with company.window() as window:
        # Neither group nor clearance of theirs opens it.
        page = company.sign_in(window, "contractor")
        assert "sixteen weeks" not in company.ask(page, LEAVE)
        answer = page.goto(f"{company.address}/log")
        assert answer is not None
        assert answer.status == httpx.codes.FORBIDDEN
    with company.window() as window:
        page = company.sign_in(window, "compliance-officer")
        answer = page.goto(f"{company.address}/log")
        assert answer is not None
        assert answer.status == httpx.codes.OK


def test_a_wrong_password_opens_nothing(company: Company) -> None:
    with company.window() as window:
        page = company.sign_in(window, "works-council", "not-the-password-of-anybody")
        expect(page.get_by_text("Invalid username or password.")).to_be_visible()
        page.goto(f"{company.address}/ask")
        assert page.url.startswith(f"{company.address}/sign-in")


def test_who_is_signed_out_at_the_issuer_is_out_at_the_gateway_with_the_next_request(company: Company) -> None:
    """Back-channel logout, with the token that a real issuer sends."""
    with company.window() as window:
        page = company.sign_in(window, "hr-partner")
        expect(page).to_have_url(f"{company.address}/ask")
        (user,) = company.issuer.manage("GET", "/users?username=hr-partner&exact=true")
        company.issuer.manage("POST", f"/users/{user['id']}/logout")
        _until(lambda: _is_out(page, company.address))


def test_a_person_disabled_at_the_issuer_cannot_come_back(company: Company) -> None:
    (user,) = company.issuer.manage("GET", "/users?username=finance-analyst&exact=true")
    company.issuer.manage("PUT", f"/users/{user['id']}", {**user, "enabled": False})
    with company.window() as window:
        page = company.sign_in(window, "finance-analyst")
        expect(page.get_by_text("Account is disabled")).to_be_visible()
        assert not page.url.startswith(company.address)


def test_a_new_signing_key_is_taken_without_a_restart(company: Company) -> None:
    realm = company.issuer.manage("GET", "")
    company.issuer.manage(
        "POST",
        "/components",
        {
            "name": "rotated",
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "parentId": realm["id"],
            "config": {"priority": ["200"], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"]},
        },
    )

    def is_in() -> bool:
        with company.window() as window:
            page = company.sign_in(window, "works-council")
            return page.url == f"{company.address}/ask"

    # Unknown keys are asked for once in ten seconds, whoever shows one.
    _until(is_in, 30.0)


def _certificate(folder: Path) -> tuple[Path, Path, Path]:
    """(certificate, key, authority) for `localhost`, each a PEM file."""
    now = datetime.now(UTC)

    def signed(name: str, key: ec.EllipticCurvePrivateKey, issuer: tuple[str, ec.EllipticCurvePrivateKey], *, is_authority: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer[0])]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer[1].public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if not is_authority:
            names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(issuer[1], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    contents = {
        "server.pem": signed("localhost", server, ("test authority", authority), is_authority=False),
        "server.key": server.private_bytes(*plain),
        "ca.pem": signed("test authority", authority, ("test authority", authority), is_authority=True),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder / "server.pem", folder / "server.key", folder / "ca.pem"


def _until_ready(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    def is_ready() -> bool:
        assert process.poll() is None, log.read_text(encoding="utf-8")[-2000:]
        try:
            return httpx.get(f"{address}/readyz", trust_env=False, timeout=5).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    _until(is_ready, 90.0)


def _is_out(page: Page, address: str) -> bool:
    page.goto(f"{address}/ask")
    return page.url.startswith(f"{address}/sign-in")


def _until(holds: Any, within_s: float = 10.0) -> None:  # noqa: ANN401 - a call without arguments
    ends = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < ends, json.dumps({"not within s": within_s})
        time.sleep(0.2)
