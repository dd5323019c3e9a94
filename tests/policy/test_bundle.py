"""Policy files that do not load: each is refused with its file and line, and none half way."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.domain.access import Acl, Action, Outcome, Resource
from app.domain.identity import Principal, Subject, SubjectId, TenantId
from app.errors import PolicyInvalidError
from app.govern.activate import require_sound
from app.policy.book import PolicyBook
from app.policy.bundle import digest_of, parse_bundle, read_folder
from app.policy.cases import read_cases, run_cases
from app.policy.referee import _parsed
from app.policy.snapshot import Snapshot, gateway_resource
from app.storage import policy_rows
from tests.conformance.stores import Store
from tests.conftest import ROOT

FILES = read_folder(ROOT / "policies")
ROW = "group:sample|all-employees,sample,company,internal,read,*,allow,why"


def _with(name: str, text: str) -> dict[str, str]:
    return {**FILES, name: text}


def _with_row(row: str) -> dict[str, str]:
    return _with("rules.csv", f"{FILES['rules.csv'].splitlines()[0]}\n{row}\n")


def test_the_policy_of_the_project_passes_its_own_cases() -> None:
    bundle = parse_bundle(FILES)
    cases = read_cases(bundle)
    assert len(cases) >= 80
    assert run_cases(Snapshot(bundle, 1), cases) == []


def test_a_case_that_comes_out_otherwise_is_reported() -> None:
    bundle = parse_bundle(FILES)
    cases = read_cases(bundle)
    turned = replace(cases[0], expected=Outcome.DENY if cases[0].expected is Outcome.ALLOW else Outcome.ALLOW)
    assert [one.place for one in run_cases(Snapshot(bundle, 1), [turned, *cases[1:]])] == [cases[0].place]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (ROW.replace(",allow,", ",Allow,"), "effect"),
        (ROW.replace(",allow,", ",denied,"), "effect"),
        (ROW.replace(",allow,", ",,"), "effect"),
        (ROW.replace(",read,", ",reed,"), "action"),
        (ROW.replace("internal", "intern"), "label"),
        (ROW.replace("group:", "groups:"), "subject"),
        (ROW.replace("group:sample|all-employees", "*"), "subject"),
        (ROW.replace(",sample,company", ",*,company"), "tenant"),
        (ROW.replace("company", "Com pany"), "collection"),
        (ROW.replace(",*,allow", ",Support!,allow"), "purpose"),
        (ROW.replace(",why", ","), "why"),
        (ROW.replace(",why", ""), "columns"),
        (f"{ROW}\n{ROW}", "same rule"),
        ('"unclosed', "line 2"),
    ],
)
def test_a_row_outside_the_form_is_refused_with_its_line(row: str, problem: str) -> None:
    with pytest.raises(PolicyInvalidError, match=r"rules\.csv line \d") as caught:
        parse_bundle(_with_row(row))
    assert problem in caught.value.detail


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("r.act == p.act && ", ""),
        ("!some(where (p.eft == deny))", "some(where (p.eft == allow))"),
        ("gate(r.sub, r.dom, r.obj)", "gate(r.sub, r.dom, r.obj) || r.sub == p.sub"),
        ("lbl, act, purp, eft", "lbl, act, purp"),
        ("r = sub, dom, obj, act", "r = sub, obj, act"),
        ('p.col == "*"', "keyMatch(r.obj.col, p.col)"),
        ("m = r.act", "m = eval(p.sub) && r.act"),
    ],
)
def test_a_matcher_that_cannot_be_compiled_is_refused(old: str, new: str) -> None:
    """A referee with another matcher than the compiler knows would disagree with every search."""
    text = FILES["model.conf"]
    assert old in text
    with pytest.raises(PolicyInvalidError, match=r"model\.conf"):
        parse_bundle(_with("model.conf", text.replace(old, new)))


@pytest.mark.parametrize("name", ["model.conf", "rules.csv", "labels.yaml", "redaction.yaml"])
def test_a_missing_file_is_named(name: str) -> None:
    with pytest.raises(PolicyInvalidError, match=name):
        parse_bundle({key: text for key, text in FILES.items() if key != name})


@pytest.mark.parametrize(
    "text", ["", "- a", "labels: {public: 1}", "labels: {public: 0, internal: yes}", "labels: [", "labels: {public: 0}"]
)
def test_labels_that_would_change_ranks_are_refused(text: str) -> None:
    with pytest.raises(PolicyInvalidError, match=r"labels\.yaml"):
        parse_bundle(_with("labels.yaml", text))


def test_too_many_rules_are_refused() -> None:
    rows = "\n".join(ROW.replace("all-employees", f"team-{n}") for n in range(2_001))
    with pytest.raises(PolicyInvalidError, match="2000"):
        parse_bundle(_with_row(rows))


def test_a_policy_without_rules_allows_nothing() -> None:
    """An empty Casbin policy allows a request of empty strings."""
    snapshot = Snapshot(parse_bundle({**_with_row("# none"), "rules.csv": FILES["rules.csv"].splitlines()[0] + "\n"}), 1)
    tenant = TenantId("sample")
    subject = Subject(tenant, SubjectId("i|a"), "a", (), (), 3, frozenset(), frozenset({Principal("user:i|a")}))
    empty = Subject(TenantId(""), SubjectId(""), "", (), (), 3, frozenset(), frozenset({Principal("")}), purpose="")
    for action in Action:
        assert snapshot.decide(subject, action, gateway_resource(tenant)).outcome is Outcome.DENY
        nothing = Resource(TenantId(""), "", frozenset({""}), 0, Acl.inherited())
        assert snapshot.decide(empty, action, nothing).outcome is Outcome.DENY


def test_a_changed_file_changes_the_digest_and_the_same_files_do_not() -> None:
    first, second = parse_bundle(FILES), parse_bundle(dict(reversed(FILES.items())))
    assert first.digest == second.digest
    assert parse_bundle(_with("labels.yaml", FILES["labels.yaml"] + "\n# x\n")).digest != first.digest


async def test_a_bundle_that_was_changed_beneath_its_digest_is_not_put_in_force(store: Store) -> None:
    files, tenant, now = read_folder(ROOT / "policies"), TenantId("sample"), datetime.now(UTC)
    async with store.opened() as database:
        async with database.write() as tx:
            await policy_rows.put_bundle(tx, tenant, digest_of(files), files, now)
            await policy_rows.activate(tx, tenant, policy_rows.ActivePolicy(1, digest_of(files), now, "a", "a"))
        async with database.read() as tx:
            assert (await PolicyBook().current(tx, tenant)).digest == digest_of(files)
        changed = "replace(CAST(files AS text), 'all-employees,sample,hr', 'visitors,sample,hr')"
        store.meddle(f"UPDATE policy_bundle SET files = {f'CAST({changed} AS json)' if store.is_postgres else changed}")  # noqa: S608 - our own text
        async with database.read() as tx:
            with pytest.raises(PolicyInvalidError, match="somebody changed it"):
                await PolicyBook().current(tx, tenant)


def test_policies_are_checked_in_threads_at_once() -> None:
    """A folder is checked beside requests. Two matchers parsed at once were taken for one that went wrong: a request ended in a 500."""
    _parsed.cache_clear()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert len(list(pool.map(require_sound, [FILES] * 24))) == 24
    finally:
        sys.setswitchinterval(before)
