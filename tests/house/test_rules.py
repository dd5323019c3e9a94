"""The rules of the house that no linter knows: sizes, names, what must be documented, what must not stand in the tree."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.api.problems import EVERY_TYPE
from app.cli import app as commands
from app.domain.audit import EventType
from app.errors import PortcullisError
from app.settings import Settings
from tests.conftest import ROOT

FILES = sorted((ROOT / "app").rglob("*.py"))
FLOWS = [path for path in FILES if path.parent.name in {"answer", "ingest", "govern"}]
REFUSED = {"utils", "helpers", "manager", "core", "common", "new", "v2", "data", "info"}
MAX_FILE, MAX_FUNCTION, MAX_FLOW_CLASS, MAX_METHODS, MAX_NESTING = 400, 60, 120, 10, 3
_NESTS = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.Try, ast.Match)


def _nodes(kind: type[ast.AST] | tuple[type[ast.AST], ...]) -> Iterator[tuple[Path, ast.AST]]:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield path, node


def _length(node: ast.AST) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


def _depth(node: ast.AST, depth: int = 0) -> int:
    deepest = depth
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse
        deepest = max(deepest, _depth(child, depth + (isinstance(child, _NESTS) and not is_elif)))
    return deepest


def test_no_file_is_longer_than_the_wall() -> None:
    long = {
        str(path.relative_to(ROOT)): count for path in FILES if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_FILE
    }
    assert long == {}


def test_no_function_is_longer_than_the_wall_or_nests_deeper_than_three() -> None:
    functions = list(_nodes((ast.FunctionDef, ast.AsyncFunctionDef)))
    assert [(path.name, node.name) for path, node in functions if _length(node) > MAX_FUNCTION] == []
    assert [(path.name, node.name) for path, node in functions if _depth(node) > MAX_NESTING] == []


def test_no_class_has_more_than_ten_public_methods() -> None:
    for path, node in _nodes(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        methods = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and not one.name.startswith("_")]
        assert len(methods) <= MAX_METHODS, f"{path.name}: {node.name}"


def test_a_flow_reads_on_one_page() -> None:
    """A flow's class, its powers and its order of duties, stays under 120 lines."""
    for path in FLOWS:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                assert _length(node) <= MAX_FLOW_CLASS, f"{path.name}: {node.name}"


def test_module_names_say_what_lives_there() -> None:
    assert [path.name for path in FILES if path.stem in REFUSED] == []


def test_only_filters_make_a_read_filter() -> None:
    """A filter made anywhere else could be one that forgot somebody."""
    makers = {path.name for path, node in _nodes(ast.Call) if _called(node) in {"Conditions", "WholeTenant", "Nothing"}}
    assert makers <= {"filters.py"}


def _called(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def test_every_error_family_is_answered_by_a_problem() -> None:
    def families(kind: type[PortcullisError]) -> Iterator[type[PortcullisError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from families(child)

    assert len({one.name for one in EVERY_TYPE}) == len(EVERY_TYPE)
    assert all(one.meaning and one.remedy for one in EVERY_TYPE)
    assert len(list(families(PortcullisError))) <= len(EVERY_TYPE) + 1


def test_every_setting_event_and_command_is_documented() -> None:
    settings, events, named = (
        (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("settings", "audit-events", "commands")
    )
    assert [name for name in Settings.model_fields if f"`PORTCULLIS_{name.upper()}`" not in settings] == []
    assert [one.value for one in EventType if f"`{one.value}`" not in events] == []
    top = [one.name or one.callback.__name__ for one in commands.registered_commands if one.callback]
    groups = [
        (one.name, [sub.name for sub in one.typer_instance.registered_commands]) for one in commands.registered_groups if one.typer_instance
    ]
    assert [name for name in top if f"portcullis {name}" not in named] == []
    assert [f"{group} {name}" for group, names in groups for name in names if f"{group} {name}" not in named] == []


def test_every_kind_of_event_is_written_somewhere() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in FILES if path.name != "audit.py" or path.parent.name != "domain")
    assert [one.name for one in EventType if f"EventType.{one.name}" not in code] == []


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "docs/decisions/0001-dependencies.md").read_text(encoding="utf-8").casefold()
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = project[project.index("dependencies = [") : project.index("[project.scripts]")]
    names = {re.split(r"[\[<>=~ ]", name)[0].casefold() for name in re.findall(r'"([A-Za-z][^"]+)"', block)}
    missing = {name for name in names if name not in text and not name.startswith("types-") and not name.endswith("-stubs")}
    assert missing == set()


def test_locks_carry_hashes_and_no_index_address() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert not re.search(r"https?://|--index-url|--find-links", text), path.name


def _tracked() -> list[str]:
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607 - whichever git is there
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


def test_no_template_or_page_carries_inline_style_or_script() -> None:
    """The content security policy forbids both; a page that has one would silently lose it."""
    for path in (ROOT / "app/web/templates").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:|\|\s*safe\b", text), path.name


def test_no_absolute_path_of_a_machine_stands_in_the_tree() -> None:
    for name in _tracked():
        if name.endswith((".py", ".toml", ".md", ".yaml", ".yml", "Makefile")) and not name.startswith("tests/"):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert not re.search(r"(?<![\w.~])/(?:root|work|home/\w+)/", text), name
