"""The pages for operators name only what exists: commands, settings, metrics, log events, tests, files; their queries run as written."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from typer.main import get_command

from app.cli import app as commands
from app.domain.audit import EventType
from app.observability import REGISTRY
from app.settings import Settings
from tests.conftest import ROOT
from tests.services.postgres import Cluster

PAGES = sorted((ROOT / "docs" / "operations").glob("*.md"))
ALERTS = ROOT / "docs" / "operations" / "alerts.yaml"
NOT_SETTINGS = {"PORTCULLIS_CONFIG", "PORTCULLIS_SHARED"}
GROUPS_OF_THE_DATABASE = {"portcullis_owner", "portcullis_gateway", "portcullis_signer", "portcullis_auditor", "portcullis_eraser"}
_OPTION = re.compile(r"--[a-z][a-z-]*")


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    return path.read_text(encoding="utf-8")


def metrics() -> set[str]:
    """Every series name that /metrics can show."""
    found = set()
    for metric in REGISTRY.collect():
        ends = {"counter": ("_total",), "histogram": ("", "_bucket", "_sum", "_count")}.get(metric.type, ("",))
        found |= {metric.name + end for end in ends}
    return found


@cache
def defined(kind: str) -> set[str]:
    """Names of every test, or of every event that the program logs."""
    found = set()
    for path in (ROOT / ("tests" if kind == "test" else "app")).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if kind == "test" and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(node.name)
            if kind == "event" and isinstance(node, ast.Call) and ast.unparse(node.func).startswith("_log."):
                found.add(ast.literal_eval(node.args[0]))
    return found


def test_every_page_is_in_the_index_and_every_link_leads_somewhere(page: str) -> None:
    index = (ROOT / "docs" / "operations" / "README.md").read_text(encoding="utf-8")
    assert [one.name for one in PAGES if one.name != "README.md" and f"({one.name})" not in index] == []
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page):
        file = ROOT / "docs" / "operations" / target if target else None
        assert file is None or file.exists(), target
        if anchor and file is not None:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in titles}, anchor


def test_every_command_and_option_exists(page: str) -> None:
    for line in re.findall(r"(?:^|`|; |&& |\$ )portcullis ([^`\n]*)", page, re.MULTILINE):
        words = line.split()
        found: Any = get_command(commands)
        while hasattr(found, "commands") and words:
            following = found.commands.get(words[0].rstrip(".,:"))
            assert following is not None, f"portcullis {line}"
            found, words = following, words[1:]
        known = {option for parameter in found.params for option in parameter.opts}
        assert set(_OPTION.findall(" ".join(words).split("  ")[0])) <= known | {"--help"}, f"portcullis {line}"


def test_every_setting_exists(page: str) -> None:
    known = {f"PORTCULLIS_{name.upper()}" for name in Settings.model_fields} | NOT_SETTINGS
    named = {one.removesuffix("_FILE") if one not in known else one for one in re.findall(r"PORTCULLIS_[A-Z][A-Z_]*[A-Z]", page)}
    assert named <= known


def test_every_metric_exists_and_every_existing_one_is_explained(page: str) -> None:
    volumes = {f"portcullis_{one}" for one in yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["volumes"]}
    assert set(re.findall(r"\bportcullis_[a-z_]+\b", page)) - GROUPS_OF_THE_DATABASE - volumes <= metrics()
    if "## Metrics" in page:
        assert [metric.name for metric in REGISTRY.collect() if f"`{metric.name}" not in page] == []


def test_every_test_exists(page: str) -> None:
    assert set(re.findall(r"`(test_[a-z0-9_]+)`", page)) <= defined("test")
    for path in re.findall(r"`((?:tests|app|examples|docs)/[\w./-]+)`", page):
        assert (ROOT / path).exists() or (ROOT / path).parent.name == "secrets", path


def test_every_log_event_is_explained_and_exists() -> None:
    text = (ROOT / "docs" / "operations" / "monitoring.md").read_text(encoding="utf-8")
    table = text[text.index("## Log events") :]
    assert {one for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for one in re.findall(r"`(\w+)`", row)} == defined("event")


def test_every_kind_of_entry_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"[`'](?:audit|policy|acl|label|document|collection|generation|retrieval|job|store)\.[a-z.]+[a-z][`']", page)
    known = {one.value for one in EventType}
    assert {one.strip("`'") for one in named} - {"audit.read", "policy.md"} <= known


def test_alerts_ask_for_metrics_that_exist_and_stand_in_the_table() -> None:
    rules = [one for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for one in group["rules"]]
    text = (ROOT / "docs" / "operations" / "monitoring.md").read_text(encoding="utf-8")
    assert rules
    for one in rules:
        named = set(re.findall(r"\bportcullis_[a-z_]+\b", one["expr"]))
        assert named, one["alert"]
        assert named <= metrics(), one["alert"]
        assert one["expr"].count("(") == one["expr"].count(")")
        assert set(one) <= {"alert", "expr", "for", "labels", "annotations"}
        assert f"`{one['alert']}`" in text
    assert set(re.findall(r"^\| `(Portcullis\w+)` \|", text, re.MULTILINE)) == {one["alert"] for one in rules}


def test_the_queries_of_the_pages_run_under_the_login_they_name(postgres: Cluster) -> None:
    name = postgres.fresh()
    try:
        text = (ROOT / "docs" / "operations" / "monitoring.md").read_text(encoding="utf-8")
        queries = re.findall(r"```sql\n(.+?)\n```", text, re.DOTALL)
        assert len(queries) >= 4
        with psycopg.connect(postgres.address(name, "gateway"), options="-c portcullis.tenant=sample") as connection:
            for one in queries:
                connection.execute(one)
    finally:
        postgres.drop(name)
