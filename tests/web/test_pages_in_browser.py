"""The pages in a real browser: no accessibility violation, no sideways scrolling, no script error, in both themes and both widths."""

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from app.web.templating import STATIC
from tests.e2e.browsing import chromium
from tests.web.samples import PAGES, rendered

pytestmark = pytest.mark.browser

LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


class _Pages(SimpleHTTPRequestHandler):
    """Serves rendered pages under the policy that the gateway sends."""

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(STATIC, folder / "static")
    for name in PAGES:
        (folder / name).write_text(rendered(name), encoding="utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Pages, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = chromium(playwright)
        yield started
        started.close()


@pytest.fixture(params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    scheme, width = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", [name for name in PAGES if name != "streaming.html"])
def test_a_page_is_accessible_fits_and_runs_without_errors(name: str, page: Page, address: str) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(f"{address}/{name}")
    violations = Axe().run(page).response["violations"]
    assert [(v["id"], [node["html"][:200] for node in v["nodes"]]) for v in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert problems == []


def test_a_mark_opens_its_passage_and_escape_goes_back(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}/answer.html")
    page.locator("#passage-1 summary").click()
    assert not page.locator("#passage-1").get_attribute("open")
    page.locator("a.cite[data-n='2']").click()
    assert page.locator("#passage-1").get_attribute("open") is not None
    assert page.evaluate("document.activeElement.id") == "quote-2"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.n") == "2"
    page.close()


def test_marks_and_menu_work_without_script(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/answer.html")
    page.locator("a.cite[data-n='2']").click()
    assert page.url.endswith("#quote-2")
    page.locator("a[data-nav]").click()
    assert page.locator("#nav").is_visible()
    context.close()


def test_a_form_in_a_dialog_is_reached_by_script_and_has_a_page_without(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/history.html")
    link = page.locator("[data-dialog='delete']")
    assert str(link.get_attribute("href")).endswith("/delete")
    link.click()
    assert page.locator("dialog#delete").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("dialog#delete").is_visible()
    page.close()


def test_the_folder_of_static_files_holds_nothing_that_is_not_served_on_purpose() -> None:
    assert {p.suffix for p in Path(STATIC).iterdir()} == {".css", ".js", ".svg", ".txt"}
