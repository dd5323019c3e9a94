"""The command line as a newcomer types it: real processes, real data folders, no stack trace whatever happens."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app as commands
from app.errors import PortcullisError
from app.identity.tokens import _KEY_TYPE
from app.settings import load_settings
from app.wiring import check_settings
from tests.conftest import ROOT


def run(*arguments: str, status: int | None = 0, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """One command; its exit status is checked, and that no stack trace came out."""
    command = [sys.executable, "-c", "from app.cli import main; main()", *arguments]
    settings = {"PYTHONPATH": str(ROOT), **{name: value for name, value in os.environ.items() if not name.startswith("PORTCULLIS_DATA")}}
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, env={**settings, **environment}, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    if status is not None:
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    return done


def test_the_tour_shows_every_promise_kept(tmp_path: Path) -> None:
    done = json.loads(run("demo", "--once", "--json", "--data", str(tmp_path / "demo")).stdout.splitlines()[-1])
    assert done["failed"] == []
    assert len(done["steps"]) >= 7
    assert all(step["holds"] for step in done["steps"])


def test_asking_proving_and_verifying(company: Path, tmp_path: Path) -> None:
    data = ("--data", str(company))
    answer = json.loads(run("ask", "How much parental leave do I get?", "--as", "engineer", "--json", *data).stdout)
    assert answer["state"] == "answered"
    receipt = tmp_path / "receipt.json"
    run("audit", "proof", answer["receipt"]["receipt_id"], "--out", str(receipt), *data)
    verifier = [sys.executable, str(ROOT / "app/audit/verifier.py"), str(receipt)]
    assert subprocess.run(verifier, capture_output=True, check=False).returncode == 0
    report = json.loads(run("audit", "verify", "--json", *data).stdout)
    assert report["is_intact"]
    exported = tmp_path / "log.ndjson"
    run("audit", "export", str(exported), *data)
    assert len(exported.read_text(encoding="utf-8").splitlines()) >= report["entries"]


def test_a_folder_is_taken_in_again_without_doing_twice_what_is_done(company: Path, tmp_path: Path) -> None:
    folder, data = tmp_path / "mine", ("--data", str(company), "--json")
    (folder / "sub").mkdir(parents=True)
    (folder / "a.md").write_text("# Parking\n\nThe visitor parking is behind building seven.\n", encoding="utf-8")
    (folder / "sub/b.txt").write_text("The gate code changes every Monday.", encoding="utf-8")
    (folder / "broken.pdf").write_bytes(b"no pdf at all")
    (folder / "movie.mp4").write_bytes(b"x")
    first = json.loads(run("ingest", str(folder), "--collection", "handbook", *data).stdout)
    assert (first["taken"], first["skipped"], list(first["refused"])) == (2, ["movie.mp4"], ["broken.pdf"])
    (folder / "a.md").write_text("# Parking\n\nThe visitor parking is behind building nine.\n", encoding="utf-8")
    (folder / "sub/b.txt").unlink()
    again = json.loads(run("ingest", str(folder), "--collection", "handbook", "--prune", *data).stdout)
    assert (again["taken"], again["unchanged"], again["pruned"]) == (1, 0, 1)
    found = json.loads(run("search", "visitor parking", "--as", "contractor", *data).stdout)
    assert "nine" in found["passages"][0]["text"]
    assert all(
        one["source_uri"] != "sub/b.txt" for one in json.loads(run("search", "gate code", "--as", "contractor", *data).stdout)["passages"]
    )


def inside(*arguments: str, status: int = 0, **environment: str) -> str:
    """A command that opens no installation, in this process."""
    done = CliRunner().invoke(commands, list(arguments), env={**environment})
    said = done.output if done.exception is None or isinstance(done.exception, SystemExit) else str(done.exception)
    got = 1 if isinstance(done.exception, PortcullisError) else done.exit_code
    assert got == status, said
    return said


def test_policy_commands_name_file_and_line(tmp_path: Path) -> None:
    assert "rules load" in inside("policy", "check")
    assert json.loads(inside("policy", "test", "--json"))["failures"] == []
    folder = tmp_path / "policies"
    shutil.copytree(ROOT / "policies", folder)
    rules = folder / "rules.csv"
    rules.write_text(rules.read_text(encoding="utf-8").replace(",allow,", ",Allow,", 1), encoding="utf-8")
    assert "rules.csv line 3" in inside("policy", "check", str(folder), status=2)


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "said"),
    [
        (("ingest", "/nowhere", "--collection", "handbook"), {}, 2, "does not exist"),
        (("doctor",), {"PORTCULLIS_PRT": "1"}, 1, "PORTCULLIS_PRT"),
        (("ask", "x", "--as", "engineer"), {"PORTCULLIS_PORT": "many"}, 1, "PORTCULLIS_PORT"),
        (("ask", "x", "--as", "engineer"), {"PORTCULLIS_MODELS": "/nowhere", "PORTCULLIS_DEMO": "1"}, 1, "make models"),
        (("serve",), {"PORTCULLIS_MODELS": "/nowhere"}, 1, "make models"),
        (("serve",), {}, 1, "PORTCULLIS_OIDC_ISSUER"),
        (("index", "verify"), {"PORTCULLIS_CONFIG": "/nowhere.toml"}, 1, "PORTCULLIS_CONFIG names /nowhere.toml, which is no file"),
        (("doctor",), {"PORTCULLIS_OPENSEARCH_URL": '["https://a:9200"'}, 1, "PORTCULLIS_OPENSEARCH_URL: Value error, this begins"),
        (("doctor",), {"PORTCULLIS_OIDC_ALGORITHMS": "RS256,HS256"}, 1, "PORTCULLIS_OIDC_ALGORITHMS: String should match"),
        (("doctor",), {"PORTCULLIS_OIDC_ALGORITHMS": ""}, 1, "PORTCULLIS_OIDC_ALGORITHMS: Value should have at least 1"),
        (("db", "upgrade"), {"PORTCULLIS_DATABASE_OWNER_URL": "mysql://h/d"}, 1, "PORTCULLIS_DATABASE_OWNER_URL is no PostgreSQL address"),
        (("db", "upgrade"), {"PORTCULLIS_DATABASE_URL": "mysql://h/d"}, 1, "PORTCULLIS_DATABASE_URL is no PostgreSQL address"),
        (
            ("serve",),
            {"PORTCULLIS_OIDC_ISSUER": "https://i", "PORTCULLIS_LLM_BASE_URL": "http://models.example.org/v1"},
            1,
            "travel in clear",
        ),
        (
            ("serve",),
            {"PORTCULLIS_OIDC_ISSUER": "https://i", "PORTCULLIS_LLM_BASE_URL": "HTTP://10.0.0.7:1"},
            1,
            "PORTCULLIS_LLM_ALLOWS_HTTP",
        ),
        (("serve",), {"PORTCULLIS_OIDC_ISSUER": "https://i", "PORTCULLIS_LLM_BASE_URL": "models:8000/v1"}, 1, "is no address"),
        (("serve",), {"PORTCULLIS_OIDC_ISSUER": "https://i", "PORTCULLIS_LLM_BASE_URL": "http://[::1"}, 1, "is no address"),
        (("demo", "--port", "0"), {}, 2, "port"),
        (("nonsense",), {}, 2, "nonsense"),
    ],
)
def test_a_wrong_command_says_what_to_mend(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], status: int, said: str
) -> None:
    place = {} if arguments[0] in {"nonsense", "demo"} else {"PORTCULLIS_DATA": str(tmp_path / "data")}
    assert said in inside(*arguments, status=status, **place, **environment)


def test_a_key_file_of_raw_bytes_is_named_with_what_prints_it_as_text(tmp_path: Path) -> None:
    (tmp_path / "digest.key").write_bytes(bytes(range(224, 256)))
    said = inside("doctor", status=1, PORTCULLIS_DATA=str(tmp_path), PORTCULLIS_DIGEST_KEY_FILE=str(tmp_path / "digest.key"))
    assert f"PORTCULLIS_DIGEST_KEY_FILE: the file {tmp_path}/digest.key holds bytes that are no text" in said
    assert "base64" in said


@pytest.mark.parametrize(
    "given", ["https://a:9200,https://b:9200", " https://a:9200 , https://b:9200", '["https://a:9200","https://b:9200"]']
)
def test_a_list_is_written_with_commas_or_as_json(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("PORTCULLIS_OPENSEARCH_URL", given)
    assert load_settings().opensearch_url == ("https://a:9200", "https://b:9200")


@pytest.mark.parametrize(
    ("address", "more"),
    [
        ("https://models.example.org/v1", {}),
        ("http://127.0.0.1:11434/v1", {}),
        ("http://models.inference.svc/v1", {}),
        ("http://models.inference.svc.cluster.local:80/v1", {}),
        ("http://models.example.org/v1", {"llm_allows_http": True}),
    ],
)
def test_a_model_may_be_near_or_behind_https_or_expressly_in_clear(tmp_path: Path, address: str, more: dict[str, bool]) -> None:
    check_settings(load_settings(data=tmp_path, oidc_issuer="https://id.example.org", llm_base_url=address, **more))


def test_every_algorithm_that_is_known_can_be_set() -> None:
    assert load_settings(oidc_algorithms=list(_KEY_TYPE)).oidc_algorithms == tuple(_KEY_TYPE)


def test_a_wrong_person_is_told_who_there_is(company: Path) -> None:
    done = run("ask", "x", "--as", "nobody", "--data", str(company), status=1)
    assert "engineer" in done.stderr


def test_the_doctor_finds_nothing_wrong_and_lists_every_setting(company: Path) -> None:
    assert "PORTCULLIS_OIDC_ISSUER" in inside("doctor", "--explain")
    report = json.loads(run("doctor", "--json", "--data", str(company)).stdout)
    assert set(report.values()) == {"ok"}


def test_a_token_of_the_demo_issuer_is_printed(company: Path) -> None:
    assert inside("token", "--as", "engineer", "--data", str(company)).count(".") == 2


def test_text_from_standard_input_is_analysed(company: Path) -> None:
    done = run(
        "privacy", "analyze", "--as", "hr-partner", "--data", str(company), "--json", stdin="Call Erika Mustermann on +49 30 1234567."
    )
    assert {one["entity_type"] for one in json.loads(done.stdout)["spans"]} >= {"PERSON", "PHONE_NUMBER"}


@pytest.mark.parametrize(
    "command", [("--help",), ("demo", "--help"), ("policy", "--help"), ("eval", "answers", "--help"), ("ingest", "--help")]
)
def test_help_shows_an_example_or_the_commands(command: tuple[str, ...]) -> None:
    text = inside(*command)
    assert "Example:" in text or "Commands" in text


@pytest.mark.parametrize(
    "command",
    [
        ("index", "verify"),
        ("audit", "export", "/dev/null"),
        ("audit", "verify"),
        ("search", "x", "--as", "engineer"),
    ],
)
def test_a_command_for_a_mistyped_tenant_says_so_and_begins_no_log(company: Path, command: tuple[str, ...]) -> None:
    """Each put the policy of where it ran in force for that tenant, and so left a log there for ever."""

    def kept() -> list[list[tuple[object, ...]]]:
        with contextlib.closing(sqlite3.connect(company / "portcullis.db")) as database:
            tables = ("audit_head", "audit_checkpoint", "policy_state")
            return [database.execute(f"SELECT * FROM {table}").fetchall() for table in tables]  # noqa: S608 - names of tables, written here

    before = kept()
    done = run(*command, "--data", str(company), status=None, PORTCULLIS_TENANT="smaple")
    assert done.returncode
    assert "PORTCULLIS_TENANT" in done.stdout + done.stderr
    assert kept() == before


def test_a_repair_that_leaves_something_wrong_says_so_and_exits_with_2(company: Path) -> None:
    """It said Repaired and exited with 0 whatever was left."""
    data = ("--data", str(company))
    assert "Right" in run("index", "verify", *data).stdout
    with contextlib.closing(sqlite3.connect(company / "portcullis.db")) as database, database:
        (lost,) = database.execute("SELECT document_id FROM document WHERE external_id='hr/parental-leave'").fetchone()
        database.execute("DELETE FROM document_version WHERE document_id=?", (lost,))
    for file in company.glob("index.db*"):
        file.unlink()
    done = run("index", "verify", "--repair", *data, status=2)
    assert f"failed: {lost}\nleft: {lost}\nSTILL NOT RIGHT" in done.stdout
    report = json.loads(run("index", "verify", "--repair", "--json", *data, status=2).stdout)
    assert (report["missing"], report["failed"], report["repaired"]) == ([lost], [lost], False)
