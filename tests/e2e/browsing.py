"""A demo server in a process of its own and a real browser in front of it, as a reader meets them."""

import base64
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Playwright, Request

from tests.conftest import ROOT, missing

STARTS_WITHIN_S = 90
LOST = 0
"""Stands among expected statuses for a request that gets no answer at all."""
_STATUS = re.compile(r"(?:status of|Status Error Code) (\d{3}) ")
RECORDER = """
window.seen = [];
document.addEventListener("htmx:sseBeforeMessage", (e) => {
  const article = document.querySelector("#answer");
  window.seen.push([e.detail.type, article ? article.getAttribute("aria-busy") : null]);
});
document.addEventListener("DOMContentLoaded", () => {
  window.said = [];
  new MutationObserver(() => {
    const text = document.querySelector("#announce").textContent;
    if (text) window.said.push(text);
  }).observe(document.querySelector("#announce"), { childList: true });
});
"""


@dataclass(frozen=True)
class Server:
    """A gateway that serves at `address`."""

    address: str

    def token(self, person: str) -> dict[str, str]:
        """Headers of a sample person, through the issuer's own code flow with PKCE."""
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        callback = f"{self.address}/auth/callback"
        asked = {"client_id": "portcullis", "redirect_uri": callback, "response_type": "code", "scope": "openid", "login_hint": person}
        asked |= {"code_challenge": challenge, "code_challenge_method": "S256", "state": "s", "nonce": "n"}
        with httpx.Client(base_url=self.address, trust_env=False) as client:
            back = client.get("/demo-issuer/authorize", params=asked).headers["location"]
            form = {"grant_type": "authorization_code", "code": parse_qs(urlsplit(back).query)["code"][0], "redirect_uri": callback}
            tokens = client.post("/demo-issuer/token", data={**form, "client_id": "portcullis", "code_verifier": verifier})
        return {"Authorization": f"Bearer {tokens.json()['access_token']}"}

    def call(self, method: str, path: str, person: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """The JSON that the API answers a sample person. Fails on an error."""
        headers = self.token(person)
        with httpx.Client(base_url=self.address, trust_env=False, headers=headers) as client:
            response = client.request(method, path, json=body) if body is not None else client.request(method, path)
        response.raise_for_status()
        return response.json()


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """`portcullis demo` over `folder` on a free port, ended with its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PORTCULLIS_")}
    start = "from app.cli import main; main()"
    command = [sys.executable, "-c", start, "demo", "--port", str(port), "--data", str(folder)]
    address = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("w") as log, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log) as process:
        try:
            _wait(address, process, folder / "server.log")
            yield Server(address)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    ends = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < ends:
        assert process.poll() is None, log.read_text(encoding="utf-8")[-2000:]
        try:
            if httpx.get(f"{address}/readyz", trust_env=False, timeout=2).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(log.read_text(encoding="utf-8")[-2000:])


def chromium(playwright: Playwright) -> Browser:
    """A headless Chromium, from PORTCULLIS_TEST_CHROMIUM or the PATH; first the one without windows, which costs a third of the other."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, [os.environ.get("PORTCULLIS_TEST_CHROMIUM"), *map(shutil.which, names)]), None)
    try:
        return playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
    except Error as error:
        missing(f"no Chromium here: install it or set PORTCULLIS_TEST_CHROMIUM ({str(error)[:200]})")
        raise


@dataclass
class Visit:
    """One person at one browser window. `problems` gathers script errors, refused content and requests to anywhere else."""

    page: Page
    address: str
    expected: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen from the first request on."""
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("console", self._heard)
        self.page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        status = _STATUS.search(message.text)
        is_lost = LOST in self.expected and any(sign in message.text for sign in ("net::ERR", "htmx:sendError", "htmx:afterRequest"))
        if message.type in {"error", "warning"} and not is_lost and not (status and int(status[1]) in self.expected):
            self.problems.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self.address}/", "data:", "blob:")):
            self.problems.append(f"request elsewhere: {request.url}")

    @property
    def path(self) -> str:
        """Where the window is, without its query."""
        return self.page.url.removeprefix(self.address).partition("?")[0]

    def open(self, path: str) -> Page:
        """The page at `path`."""
        self.page.goto(f"{self.address}{path}")
        return self.page

    def ask(self, question: str, purpose: str = "", box: str = "#q") -> Page:
        """Ask in the box that is there, and wait until an outcome stands."""
        before = self.page.url
        self.page.fill(box, question)
        if purpose:
            self.page.select_option(f"{box}-purpose", purpose)
        self.page.locator(f"{box}-form button[type=submit]").click()
        self.page.wait_for_url(lambda url: "/answers/" in url and url != before)
        self.page.wait_for_selector("#answer:not([aria-busy=true])")
        return self.page


@dataclass(frozen=True)
class Lookout:
    """A browser before one server. Sessions of people are kept, so that each signs in once."""

    browser: Browser
    server: Server
    sessions: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def visit(self, person: str = "", **options: Any) -> Iterator[Visit]:  # noqa: ANN401 - options of a browser context
        """A window of `person`, or of nobody yet. What went wrong in it fails the test at its end."""
        if person and person not in self.sessions:
            self.sessions[person] = self._sign_in(person)
        shown: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce", "accept_downloads": True}
        context = self.browser.new_context(**{**shown, **options}, storage_state=self.sessions.get(person))
        context.set_default_timeout(15_000)
        context.add_init_script(RECORDER)
        visit = Visit(context.new_page(), self.server.address)
        try:
            yield visit
            assert not visit.problems, visit.problems
        finally:
            context.close()

    def verifies(self, receipt: Path, *options: str) -> dict[str, object]:
        """What the offline verifier says, run alone on the file with the key that the gateway publishes."""
        key = self.server.call("GET", "/v1/audit/keys", "engineer")["keys"][0]["vkey"]
        command = [sys.executable, "-I", str(ROOT / "app/audit/verifier.py"), str(receipt), "--key", key, "--json", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return dict(json.loads(done.stdout))

    def _sign_in(self, person: str) -> Any:  # noqa: ANN401 - the browser's own state
        context = self.browser.new_context()
        page = context.new_page()
        page.goto(f"{self.server.address}/sign-in")
        page.click(f"button[value='{person}']")
        page.wait_for_selector(".whoami")
        state = context.storage_state()
        context.close()
        return state


def downloaded(page: Page, link: str, folder: Path) -> Path:
    """The file that a link hands over."""
    with page.expect_download() as waiting:
        page.locator(link).click()
    target = folder / waiting.value.suggested_filename
    waiting.value.save_as(target)
    return target


def every_address(lookout: Lookout, questions: tuple[str, ...]) -> dict[str, list[str]]:
    """Every kind of page by who sees it."""
    with lookout.visit("engineer") as visit:
        kept = []
        for question in questions:
            visit.open("/ask")
            visit.ask(question)
            kept.append(visit.path)
        visit.open("/conversations")
        conversations = [str(visit.page.locator("a.card-link").nth(n).get_attribute("href")) for n in (0, len(questions) - 1)]
        visit.open("/documents?collection=hr")
        document = str(visit.page.locator("tbody a").first.get_attribute("href"))
        receipt = visit.open(kept[0]).locator("#receipt a").first.get_attribute("href")
    with lookout.visit("compliance-officer") as visit:
        search = "/log?case_id=SEC-1&reason=Yearly+review"
        entry = str(visit.open(search).locator("#results tbody a").first.get_attribute("href"))
    mine = [
        "/ask",
        *kept,
        str(receipt),
        "/conversations",
        *conversations,
        f"{conversations[0]}/delete",
        "/documents",
        document,
        "/access-requests",
    ]
    return {
        "": ["/sign-in", "/docs"],
        "engineer": [*mine, "/nowhere"],
        "compliance-officer": ["/officer", "/log", search, entry],
        "administrator": ["/"],
    }
