"""The sample company is whole: every document parses and chunks, and manifest, people, questions and policy speak of the same things."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.domain.access import AclMode
from app.domain.content import DocumentId, ParsedDocument
from app.ingest.chunking import chunk_document
from app.ingest.parsers.registry import parse
from app.ingest.sandbox import ParseLimits, ParserSandbox
from app.policy.bundle import parse_bundle, read_folder
from app.policy.cases import read_cases, run_cases
from app.policy.snapshot import Snapshot
from app.sample import read_company, read_people
from examples.make_office_files import SOURCES, docx_bytes, pdf_bytes, pdf_lines

ROOT = Path(__file__).parents[2]
COMPANY = ROOT / "examples" / "company"
SAMPLE = read_company(COMPANY)
PEOPLE = read_people(COMPANY)
BUNDLE = parse_bundle(read_folder(ROOT / "policies"))
STATES = {"answered", "closest", "refused", "withheld"}


def content(name: str) -> dict[str, Any]:
    return yaml.safe_load((COMPANY / name).read_text(encoding="utf-8"))


def parsed(path: Path) -> ParsedDocument:
    return parse(path.read_bytes(), None, path.name)


def texts() -> dict[str, str]:
    """Title and text of the newest version by external id."""
    read = {d.external_id: chunk_document(DocumentId("d"), 1, parsed(d.path)) for d in SAMPLE.documents}
    return {name: f"{document.title}\n{document.text}" for name, document in read.items()}


@pytest.mark.parametrize("path", [d.path for d in SAMPLE.documents], ids=lambda p: p.name)
def test_every_document_parses_and_chunks(path: Path) -> None:
    document = chunk_document(DocumentId("d"), 1, parsed(path))
    assert 1 < len(document.chunks) < 10
    assert 110 <= len(document.text.split()) <= 600
    for chunk in document.chunks:
        assert "\n".join(document.text[a:b] for a, b in chunk.ranges) == chunk.text


@pytest.mark.asyncio
async def test_the_parser_process_reads_the_whole_company_alike() -> None:
    """The process cannot open files, so a module that a parser imports late would be missing there and nowhere else."""
    async with ParserSandbox(ParseLimits()) as sandbox:
        for document in SAMPLE.documents:
            assert await sandbox.parse(document.path.read_bytes(), None, document.path.name) == parsed(document.path)


def test_every_file_is_in_the_manifest_once() -> None:
    listed = [d.path for d in SAMPLE.documents]
    files = [p for p in COMPANY.rglob("*") if p.is_file() and p.parent != COMPANY]
    assert sorted(listed) == sorted(files)
    assert len(listed) >= 40


def test_documents_speak_of_known_collections_labels_and_principals() -> None:
    collections = {c.name for c in SAMPLE.collections}
    principals = {rule.subject for rule in BUNDLE.rules}
    for document in SAMPLE.documents:
        assert document.collection in collections
        assert document.path.parent.name == document.collection
        assert document.label in BUNDLE.labels
        if document.acl:
            AclMode(document.acl["mode"])
            assert document.acl["allow"]
            assert set(document.acl["allow"]) | set(document.acl["deny"]) <= principals
    assert collections - {d.collection for d in SAMPLE.documents} == {"handbook"}


def test_labels_languages_formats_and_versions_are_mixed_as_promised() -> None:
    assert {d.label for d in SAMPLE.documents} == set(BUNDLE.labels)
    languages = [d.language for d in SAMPLE.documents]
    assert languages.count("de") >= 4
    assert languages.count("fr") >= 3
    assert {d.path.suffix for d in SAMPLE.documents} == {".md", ".html", ".txt", ".csv", ".json", ".docx", ".pdf"}
    versions = [d for d in SAMPLE.documents if d.external_id == "hr/parental-leave"]
    old, new = (chunk_document(DocumentId("d"), 1, parsed(d.path)).text for d in versions)
    assert "twelve weeks of paid parental leave" in old
    assert "sixteen weeks of paid parental leave" in new
    assert "twelve weeks" not in new


def test_planted_bank_accounts_hold_by_their_checksum() -> None:
    """A wrong check digit would never be found by detection, and the demo would show it."""
    whole = "\n".join(texts().values())
    found = {re.sub(r"\s", "", m[0]) for m in re.finditer(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b", whole)}
    assert len(found) >= 6
    for iban in found:
        assert int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1, iban


def test_planted_addresses_cannot_reach_anybody() -> None:
    whole = "\n".join(texts().values())
    mails = re.findall(r"[\w.]+@[\w.]+\w", whole)
    assert len(mails) >= 20
    assert all(mail.endswith("@example.org") for mail in mails)
    assert {"AKIAIOSFODNN7EXAMPLE"} == set(re.findall(r"AKIA\w{16}", whole))


def test_the_hidden_remark_of_the_quarter_report_is_not_taken_in() -> None:
    assert "hiring stop" not in texts()["finance/quarter-close"]


def test_office_files_are_what_their_sources_say() -> None:
    for source in SOURCES.glob("*+*.txt"):
        text = source.read_text(encoding="utf-8")
        target = COMPANY.joinpath(*source.name.removesuffix(".txt").split("+"))
        title = text.strip().split("\n")[0].lstrip("# ")
        fresh = docx_bytes(text) if target.suffix == ".docx" else pdf_bytes(pdf_lines(text), title)
        assert parse(fresh, None, target.name) == parsed(target)


def test_people_are_those_of_the_sign_in_page_with_known_clearances() -> None:
    assert [p.name for p in PEOPLE] == [
        "engineer",
        "hr-partner",
        "contractor",
        "finance-analyst",
        "works-council",
        "compliance-officer",
        "policy-steward",
        "administrator",
    ]
    assert {p.clearance for p in PEOPLE} <= set(BUNDLE.labels)
    assert [p.name for p in PEOPLE if "all-employees" not in p.groups] == ["contractor"]


def test_every_rule_speaks_of_known_collections_and_somebody_holds_most_principals() -> None:
    collections = {c.name for c in SAMPLE.collections} | {"*"}
    assert {rule.collection for rule in BUNDLE.rules} <= collections
    assert {rule.tenant for rule in BUNDLE.rules} == {"sample"}
    held = {f"group:sample|{g}" for p in PEOPLE for g in p.groups} | {f"role:sample|{r}" for p in PEOPLE for r in p.roles}
    nobody = {rule.subject for rule in BUNDLE.rules} - held
    assert nobody == {f"role:sample|{r}" for r in ("engineering-steward", "legal-counsel", "security-lead")} | {"group:sample|board"}


def test_every_purpose_of_a_rule_is_assigned_to_somebody() -> None:
    assigned = {purpose for p in PEOPLE for purpose in p.purposes}
    assert {rule.purpose for rule in BUNDLE.rules} - {"*"} <= assigned


def test_the_cases_use_the_people_as_they_are() -> None:
    facts = {p.name: (list(p.groups), list(p.roles), p.clearance, list(p.purposes)) for p in PEOPLE}
    seen = set()
    for path in (ROOT / "policies" / "cases").glob("*.yaml"):
        for name, one in yaml.safe_load(path.read_text(encoding="utf-8"))["subjects"].items():
            if name in facts:
                seen.add(name)
                assert (one["groups"], one["roles"], one["clearance"], one["purposes"]) == facts[name], f"{path.name}: {name}"
    assert seen == set(facts)


def test_the_policy_passes_its_cases() -> None:
    cases = read_cases(BUNDLE)
    assert len(cases) >= 80
    assert run_cases(Snapshot(BUNDLE, 0), cases) == []
    placed = [(c.subject.subject_id, c.subject.purpose, c.action, c.resource) for c in cases]
    assert len(placed) == len(set(placed)), "the same case stands twice"


def test_each_rule_is_needed_by_some_case() -> None:
    """A row no case notices could be lost in an edit. Rows of the board, exports of deny rows and read-back rows are judged by hand."""
    cases = read_cases(BUNDLE)
    asked = {(case.action, case.resource.collection) for case in cases}
    unseen = {
        (rule.action, rule.collection) for rule in BUNDLE.rules if rule.collection != "*" and (rule.action, rule.collection) not in asked
    }
    assert unseen <= {("delete", "engineering"), ("delete", "security"), ("delete", "handbook"), ("acl.write", "handbook")} | {
        ("read_pii", "legal"),
        ("export", "finance"),
    }, unseen


def test_questions_name_known_people_documents_and_texts() -> None:
    questions = content("questions.yaml")
    known = {p.name: p for p in PEOPLE}
    stored = texts()
    ids = [q["id"] for q in questions["questions"]]
    assert len(ids) == len(set(ids)) >= 25
    for question in questions["questions"]:
        document = question["document"]
        for name, wanted in question["expect"].items():
            assert wanted["state"] in STATES
            assert wanted.get("purpose") in {None, *known[name].purposes}
            if wanted["state"] == "answered":
                for text in wanted.get("shows", ()):
                    assert text in " ".join(stored[document].split()), f"{question['id']}: {text}"
            for text in wanted.get("hides", ()):
                assert any(text in " ".join(t.split()) for t in [*stored.values(), _old_policy()]), f"{question['id']}: {text}"
    for step in questions["tour"]:
        assert step["question"] in ids
        assert set(step["people"]) <= set(known)


def _old_policy() -> str:
    return " ".join(chunk_document(DocumentId("d"), 1, parsed(COMPANY / "hr" / "parental-leave-v1.md")).text.split())
