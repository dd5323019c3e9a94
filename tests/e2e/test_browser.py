"""The whole gateway in a real browser: a demo server in its own process, Chromium in front of it, and the people of the sample company."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from tests.e2e.browsing import LOST, Lookout, chromium, downloaded, every_address, serving

pytestmark = pytest.mark.browser

LEAVE = "How much parental leave do I get?"
NO_ANSWER = "When must I hand in a sick note?"
SECRET = "What is the plan for the Hamburg site next year?"
CLOSURE = "When are the offices closed in December?"
LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitän" * 12
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1440, 390)]


@pytest.fixture(scope="module")
def lookout(seeded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lookout]:
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        folder = tmp_path_factory.mktemp("demo") / "company"
        shutil.copytree(seeded, folder)
        with serving(folder) as server:
            yield Lookout(browser, server)
        browser.close()


def test_one_click_signs_in_and_signing_out_shuts_every_page(lookout: Lookout) -> None:
    with lookout.visit() as visit:
        visit.open("/ask")
        expect(visit.page.get_by_role("heading", name="Sign in to Sample Company")).to_be_visible()
        visit.page.click("button[value='works-council']")
        expect(visit.page).to_have_url(f"{visit.address}/ask")
        expect(visit.page.locator(".whoami strong")).to_have_text("works-council")
        visit.page.get_by_role("button", name="Sign out").click()
        expect(visit.page).to_have_url(f"{visit.address}/sign-in")
        visit.page.go_back()
        visit.page.reload()
        assert visit.path == "/sign-in"


def test_an_answer_streams_in_checked_parts_and_says_so_to_those_who_listen(lookout: Lookout) -> None:
    with lookout.visit("engineer") as visit:
        page = visit.open("/ask")
        visit.ask(LEAVE)
        seen = page.evaluate("window.seen")
        kinds = list(dict.fromkeys(kind for kind, _ in seen))
        assert kinds[:4] == ["passage", "found", "sentence", "finished"]
        assert {busy for kind, busy in seen if kind in {"passage", "found", "sentence"}} == {"true"}
        expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
        # Asked from here: a function that waits inside the page is made from text there, which the page's own policy forbids.
        said = page.evaluate("window.said")
        deadline = time.monotonic() + 10
        while len(said) < 3 and time.monotonic() < deadline:
            page.wait_for_timeout(50)
            said = page.evaluate("window.said")
        assert [said[0], said[1].split(" ", 1)[1], said[-1].partition(",")[0]] == ["Searching", "passages found", "Answer complete"]
        expect(page).to_have_title("Answer · Portcullis")
        assert page.evaluate("document.activeElement.id") == "question"
        assert page.evaluate("scrollY") == 0
        assert "sixteen weeks" in page.locator("#answer-text").inner_text()


def test_a_mark_opens_its_quote_in_place_and_escape_goes_back(lookout: Lookout) -> None:
    with lookout.visit("engineer") as visit:
        page = visit.open("/ask")
        visit.ask(LEAVE)
        for mark in page.locator("#answer-text a.cite").all():
            number = mark.get_attribute("data-n")
            passage = page.locator(f"details.passage:has(#quote-{number})")
            passage.evaluate("el => { el.open = false }")
            mark.click()
            expect(passage).to_have_attribute("open", "")
            assert page.evaluate("document.activeElement.id") == f"quote-{number}"
            expect(page.locator(f"#quote-{number}")).to_be_in_viewport()
            page.keyboard.press("Escape")
            assert page.evaluate("document.activeElement.dataset.n") == number
        page.keyboard.press("1")
        assert page.evaluate("document.activeElement.id") == "quote-1"


def test_reasons_hidden_kinds_and_the_receipt_stand_beside_the_answer(lookout: Lookout, tmp_path: Path) -> None:
    with lookout.visit("engineer") as visit:
        page = visit.open("/ask")
        visit.ask("Who is my contact for parental leave?")
        answer_id = visit.path.rsplit("/", 1)[1]
        page.locator("#why summary").click()
        expect(page.locator("#why")).to_contain_text("you are in all-employees, which may read hr documents")
        page.locator("#hidden summary").click()
        expect(page.locator("#hidden tbody")).to_contain_text("PERSON")
        assert "Erika Mustermann" not in page.content()
        page.locator("#hidden tbody a").first.click()
        assert page.evaluate("document.activeElement.closest('details').open")
        expect(page.locator("#receipt > summary .state")).to_have_text("Recorded")
        page.locator("#receipt summary").click()
        page.get_by_role("link", name="Verify").click()
        expect(page.locator("#receipt > summary .state")).to_have_text("Verified")
        expect(page.locator("#receipt")).to_have_attribute("open", "")
        receipt = downloaded(page, "#receipt a[download]", tmp_path)
        text = tmp_path / "answer.txt"
        text.write_text(lookout.server.call("GET", f"/v1/answers/{answer_id}", "engineer")["answer"], encoding="utf-8")
        assert lookout.verifies(receipt, "--text", str(text))["holds"] is True
        text.write_text("Something else.", encoding="utf-8")
        assert lookout.verifies(receipt, "--text", str(text))["holds"] is False
        page.get_by_role("button", name="Helpful").click()
        expect(page.locator("#feedback")).to_contain_text("Thank you")
        page.reload()
        expect(page.locator("#receipt > summary .state")).to_have_text("Verified")


def test_a_follow_up_stays_in_its_conversation_and_back_leads_to_the_answer_before(lookout: Lookout) -> None:
    with lookout.visit("hr-partner") as visit:
        page = visit.open("/ask")
        visit.ask(LEAVE)
        first = page.url
        visit.ask("Who is my contact for parental leave?", box="#follow")
        assert "Erika Mustermann" in page.locator("#answer-text").inner_text()
        page.go_back()
        expect(page).to_have_url(first)
        expect(page.locator("h1")).to_have_text(LEAVE)
        page.go_back()
        expect(page.locator("#q")).to_be_visible()
        visit.open("/conversations")
        expect(page.locator("a.card-link")).to_have_count(1)
        page.locator("a.card-link").click()
        expect(page.locator("#conversation article")).to_have_count(2)
        visit.ask("When do I have to apply for parental leave?", box="#follow")
        visit.open("/conversations")
        expect(page.locator("a.card-link")).to_have_count(1)


def test_nothing_found_and_nothing_open_have_pages_of_their_own(lookout: Lookout) -> None:
    with lookout.visit("engineer") as visit:
        page = visit.open("/ask")
        visit.ask(NO_ANSWER)
        expect(page.locator(".banner")).to_contain_text("No passage answers this.")
        expect(page.locator("li.result").first).to_be_visible()
        expect(page).to_have_title("Closest passages · Portcullis")
        visit.open("/ask")
        visit.ask(SECRET)
        expect(page.locator(".banner")).to_contain_text("That says nothing about whether such a document exists.")
        expect(page).to_have_title("Nothing to show · Portcullis")
        page.fill("#reason", "Planning of the move")
        page.get_by_role("button", name="Send request").click()
        expect(page.locator("#request")).to_contain_text("Your request was sent")
        assert visit.path.startswith("/answers/")


def test_a_declared_purpose_opens_what_it_is_for(lookout: Lookout) -> None:
    with lookout.visit("engineer") as visit:
        page = visit.open("/ask")
        visit.ask("Why were invoices sent twice in the October incident?", purpose="incident-response")
        expect(page.locator("#answer-text")).to_contain_text("1,184 invoices")
        expect(page.locator("#answer")).to_contain_text("Purpose: incident response")


def test_a_suggestion_fills_the_box_and_each_one_has_an_answer(lookout: Lookout) -> None:
    with lookout.visit("finance-analyst") as visit:
        page = visit.open("/ask")
        questions = page.locator(".suggest a").all_inner_texts()
        assert len(questions) >= 8
        assert "engineering" not in page.locator(".suggest").inner_text()
        page.locator(".suggest a").first.click()
        expect(page.locator("#q")).to_have_value(questions[0])
        for question in questions:
            answer = lookout.server.call("POST", "/v1/answers", "finance-analyst", {"question": question})
            assert answer["state"] == "answered", question


def test_a_revocation_seals_what_was_answered_before(lookout: Lookout) -> None:
    with lookout.visit("finance-analyst") as visit:
        page = visit.open("/ask")
        visit.ask(CLOSURE)
        expect(page.locator("#answer-text")).to_contain_text("24 December 2026")
        answer = visit.path
        page.locator("details.passage[open] a.button").click()
        document = visit.path
        denied = {"mode": "inherit", "allow": [], "deny": ["group:sample|finance"]}
        lookout.server.call("PUT", f"/v1{document}/acl", "policy-steward", denied)
        visit.open(answer)
        assert visit.path.startswith("/conversations/")
        expect(page.locator(".sealed")).to_contain_text("source_not_open")
        assert "24 December" not in page.content()
        visit.expected.add(404)
        visit.open(document)
        expect(page.locator("h1")).to_have_text("Nothing here")
        visit.open("/conversations")
        kept = page.locator("a.card-link").count()
        page.locator("a.card-link").first.click()
        page.locator("[data-dialog]").click()
        expect(page.locator("dialog#delete")).to_be_visible()
        page.locator("dialog#delete .button-danger").click()
        expect(page).to_have_url(f"{visit.address}/conversations")
        expect(page.locator("a.card-link")).to_have_count(kept - 1)


def test_documents_are_listed_and_opened_as_this_reader_may_see_them(lookout: Lookout) -> None:
    with lookout.visit("engineer") as visit:
        page = visit.open("/documents?collection=hr")
        expect(page.locator("tbody tr").first).to_be_visible()
        assert "Salary" not in page.locator("tbody").inner_text()
        page.get_by_role("link", name="Parental leave policy").click()
        expect(page.locator(".hidden-span").first).to_be_visible()
        expect(page.locator(".timeline li")).to_have_count(2)
        assert "Erika" not in page.content()
        page.get_by_role("link", name="Ask about this").click()
        expect(page.locator("#q")).to_have_value("Parental leave policy")


def test_an_officer_reads_the_log_for_a_case_and_takes_a_proof_away(lookout: Lookout, tmp_path: Path) -> None:
    with lookout.visit("compliance-officer") as visit:
        page = visit.open("/")
        assert visit.path == "/officer"
        expect(page.locator("#integrity")).to_contain_text("Yes. All")
        assert page.locator("#nav a[href='/ask']").count() == 0
        page.get_by_role("link", name="Search the log").click()
        expect(page.locator("#results")).to_contain_text("Rows appear when a case and a reason are given.")
        page.get_by_role("button", name="Search").click()
        assert page.locator("#results tbody").count() == 0, "the browser itself asks for case and reason"
        page.fill("#case", "SEC-2026-047")
        page.fill("#reason", "Refusals of this week")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("#results tbody tr").first).to_be_visible()
        table, outcome = (page.locator(one).bounding_box() for one in ("#results .table-wrap", "#results thead th:last-child"))
        assert table is not None
        assert outcome is not None
        assert outcome["x"] + outcome["width"] <= table["x"] + table["width"] + 1, "the outcome stands in sight"
        page.locator("#results tbody tr:has-text('auth.login.succeeded') a").first.click()
        expect(page.locator("#event .proof li").first).to_be_visible()
        expect(page.locator("#event")).to_contain_text("Included in the tree of")
        assert "demo-issuer|" not in page.content(), "people stay pseudonyms"
        assert lookout.verifies(downloaded(page, "#event a[download]", tmp_path))["holds"] is True
        link = page.locator("#results tbody a").first.get_attribute("href")
        visit.open(str(link))
        expect(page.get_by_role("link", name="Back to the entries that match")).to_be_visible()
        visit.expected.add(422)
        visit.open(str(link).partition("?")[0])
        expect(page.locator("main")).to_contain_text("Reading the log needs a case id and a reason.")


def test_a_contractor_asks_on_a_phone_in_the_dark(lookout: Lookout) -> None:
    with lookout.visit("contractor", **PHONE) as visit:
        page = visit.open("/documents")
        page.get_by_role("button", name="Menu").tap()
        page.locator("#nav").get_by_role("link", name="Ask", exact=True).tap()
        visit.ask("What is a gift worth that I may accept?")
        expect(page.locator("#answer-text")).to_contain_text("35 euros")
        page.locator("a.cite").first.tap()
        expect(page.locator("#quote-1")).to_be_in_viewport()
        page.get_by_role("link", name="Back to the answer").tap()
        expect(page.locator("#question")).to_be_in_viewport()
        visit.ask(LEAVE, box="#follow")
        assert "sixteen weeks" not in page.content()


def test_everything_that_matters_works_without_script(lookout: Lookout) -> None:
    with lookout.visit(java_script_enabled=False) as visit:
        page = visit.open("/ask")
        page.click("button[value='engineer']")
        page.fill("#q", LEAVE)
        page.locator("#q-form button").click()
        expect(page.locator("#answer-text")).to_contain_text("sixteen weeks")
        expect(page.locator("#receipt > summary .state")).to_have_text("Verified")
        page.locator("details.passage[open] summary").first.click()
        page.locator("a.cite").first.click()
        expect(page.locator("#quote-1")).to_be_visible()
        page.get_by_role("button", name="Dark theme").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        expect(page.locator("#answer-text")).to_be_visible()
        page.locator("#hidden summary").click()
        page.locator("#hidden tbody a").first.click()
        visit.open("/conversations")
        page.locator("a.card-link").first.click()
        page.locator("[data-dialog]").click()
        page.get_by_role("button", name="Delete conversation").click()
        expect(page).to_have_url(f"{visit.address}/conversations")
        refused = page.request.post(f"{visit.address}/ask", data="a" * 1_100_000, headers={"Accept": "text/html"})
        assert refused.status == 413
        assert "<h1>Too large</h1>" in refused.text()


def test_the_chosen_theme_is_kept_and_chosen_again_goes_back_to_the_systems(lookout: Lookout) -> None:
    with lookout.visit("engineer", color_scheme="light") as visit:
        page = visit.open("/documents")
        ground = page.evaluate("getComputedStyle(document.querySelector('.main')).backgroundColor")
        with page.expect_response("**/theme"):
            page.get_by_role("button", name="Dark theme").click()
        assert page.evaluate("getComputedStyle(document.querySelector('.main')).backgroundColor") != ground
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        expect(page.get_by_role("button", name="Dark theme")).to_have_attribute("aria-pressed", "true")
        with page.expect_response("**/theme"):
            page.get_by_role("button", name="Dark theme").click()
        page.reload()
        assert page.locator("html").get_attribute("data-theme") is None


def test_a_refusal_is_named_and_nothing_fails_in_silence(lookout: Lookout) -> None:
    with lookout.visit("administrator") as visit:
        visit.expected |= {403, 404, 413}
        page = visit.open("/")
        expect(page.locator(".banner")).to_contain_text("No collection is open to your role.")
        page.fill("#q", LEAVE)
        page.locator("#q-form button").click()
        expect(page.locator("[role=alert]")).to_contain_text("Refused.")
        expect(page.locator("#again")).to_have_value(LEAVE)
        expect(page).to_have_title("Refused · Portcullis")
        visit.open("/officer")
        expect(page.locator("h1")).to_have_text("Not allowed")
        visit.open("/nowhere")
        expect(page.locator("h1")).to_have_text("Nothing here")
        visit.open("/ask")
        page.evaluate("document.querySelector('#q').removeAttribute('maxlength')")
        page.fill("#q", "a" * 1_100_000)
        page.locator("#q-form button").click()
        expect(page.locator("#main [role=alert]")).to_contain_text("The request is larger than this gateway takes.")
        visit.open("/ask")
        page.evaluate("document.querySelector('[name=csrf_token]').value = 'stale'")
        page.evaluate("document.querySelectorAll('[name=csrf_token]').forEach(one => { one.value = 'stale' })")
        page.fill("#q", LEAVE)
        page.locator("#q-form button").click()
        expect(page.locator("#main h1")).to_have_text("Not allowed")


def test_a_gateway_that_is_gone_and_a_stream_begun_twice_are_said_in_words(lookout: Lookout) -> None:
    """A stream runs once. A browser that comes back for it used to read a 404 again and again, under the word "Searching"."""
    with lookout.visit("engineer") as visit:
        visit.expected.add(LOST)
        page = visit.open("/ask")
        page.route("**/ask", lambda route: route.abort())
        page.fill("#q", LEAVE)
        page.locator("#q-form button").click()
        expect(page.locator("#main [role=alert]")).to_contain_text("The gateway does not answer.")
        expect(page.locator("#q")).to_have_value(LEAVE)
        page.unroute("**/ask")
        page.route("**/stream", lambda route: route.continue_(url=f"{visit.address}/ask/qst_begun_before/stream"))
        page.locator("#q-form button").click()
        expect(page.locator("#main [role=alert]")).to_contain_text("Not answered. The answer broke off on its way.")
        expect(page.locator("#again")).to_be_visible()


def test_every_page_is_accessible_and_fits_in_both_themes_at_every_width(lookout: Lookout) -> None:
    found: list[object] = []
    for person, paths in every_address(lookout, (LEAVE, NO_ANSWER, SECRET, LONG_WORD)).items():
        with lookout.visit(person) as visit:
            visit.expected.add(404)
            for path in paths:
                page = visit.open(path)
                page.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true })")
                for scheme, width in LOOKS:
                    page.emulate_media(color_scheme=scheme)
                    page.set_viewport_size({"width": width, "height": 900})
                    found += [
                        (path, scheme, width, one["id"], one["nodes"][0]["html"][:200])
                        for one in Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
                    ]
                for width in (1440, 390, 320):
                    page.set_viewport_size({"width": width, "height": 900})
                    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                        found.append((path, width, "scrolls sideways"))
    assert found == []
