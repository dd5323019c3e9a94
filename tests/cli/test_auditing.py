"""`audit verify` and `audit resume` under the logins that docs/operations/postgresql.md makes, each beside nothing but its own folder."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from app.audit.log import AuditLog, log_name
from app.audit.signer import CheckpointSigner, RemoteSigner
from app.storage.transaction import Database
from tests.audit.conftest import TENANT, retrieval
from tests.cli.test_commands import run
from tests.operations.restoring import back_up, put_back
from tests.services.postgres import Cluster


@dataclass(frozen=True)
class Apart:
    """An installation whose signer runs by itself: no search server, no model, no sign-in service."""

    cluster: Cluster
    name: str
    folder: Path

    def address(self, login: str) -> str:
        return self.cluster.address(self.name, login)

    @property
    def key(self) -> str:
        return CheckpointSigner(self.folder / "signer").verifier_key(log_name(TENANT))

    def command(
        self, *arguments: str, login: str, status: int, folder: Path | None = None, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """One command with what a process of this duty has and nothing else."""
        given = {"PORTCULLIS_TENANT": TENANT, "PORTCULLIS_MODELS": "/nowhere", "PORTCULLIS_DATABASE_URL": self.address(login), **more}
        return run("audit", *arguments, "--data", str(folder or self.folder), status=status, **given)

    async def grow(self) -> None:
        """One entry more, recorded by a gateway and signed by the signer."""
        gateway, signer = Database(self.address("gateway"), TENANT), Database(self.address("signer"), TENANT)
        try:
            await AuditLog(gateway, RemoteSigner(self.key)).record(retrieval())
            await AuditLog(signer, CheckpointSigner(self.folder / "signer")).checkpoint(TENANT)
        finally:
            await gateway.close()
            await signer.close()


@pytest.fixture
def apart(postgres: Cluster, tmp_path: Path) -> Iterator[Apart]:
    made = Apart(postgres, postgres.fresh(), tmp_path / "signer-data")
    made.folder.mkdir()
    asyncio.run(made.grow())
    yield made
    postgres.drop(made.name)


def test_the_signers_login_and_folder_are_enough_to_check_the_log(apart: Apart) -> None:
    assert apart.command("verify", login="signer", status=0).stdout.startswith("Intact: 1 entries")
    report = json.loads(apart.command("verify", "--json", login="signer", status=0).stdout)
    assert (report["is_intact"], report["is_memory_compared"]) == (True, True)
    assert {one.name for one in apart.folder.iterdir()} == {"signer"}, "a check leaves nothing behind"


def test_a_put_back_log_shows_beside_the_signers_memory_and_nowhere_else(apart: Apart, tmp_path: Path) -> None:
    """With the public key alone it looks whole: the words, the exit status and the JSON say that nothing else was compared."""
    back_up(apart.address("deployer"), tmp_path / "older.dump")
    asyncio.run(apart.grow())
    put_back(apart.cluster, apart.name, tmp_path / "older.dump")
    elsewhere = tmp_path / "gateway"
    elsewhere.mkdir()
    for login in ("gateway", "auditor"):
        seen = apart.command("verify", login=login, status=3, folder=elsewhere, PORTCULLIS_VERIFIER_KEY=apart.key).stdout
        assert seen.startswith("Holds in itself: 1 entries")
        assert "NOT COMPARED with what the signer remembers" in seen
        assert "where the signer's folder is" in seen
    asked = ("verify", "--json")
    report = json.loads(apart.command(*asked, login="gateway", status=3, folder=elsewhere, PORTCULLIS_VERIFIER_KEY=apart.key).stdout)
    assert (report["is_intact"], report["is_memory_compared"]) == (True, False)
    assert not list(elsewhere.iterdir()), "a check makes no key"
    found = apart.command("verify", login="signer", status=2).stdout
    assert "the signer remembers 2 entries with another root: entries were cut, restored or rewritten" in found
    assert "NOT INTACT: 1 entries" in found


def test_a_forgotten_copy_of_the_signers_folder_counts_as_no_memory(apart: Apart, tmp_path: Path) -> None:
    """An older copy knows less than what is published, and one of another key is no memory of this signer."""
    copy = tmp_path / "copy"
    shutil.copytree(apart.folder, copy)
    apart.command("verify", login="signer", status=0, folder=copy)
    asyncio.run(apart.grow())
    assert "NOT COMPARED" in apart.command("verify", login="signer", status=3, folder=copy).stdout
    (copy / "signer" / "signing.key").unlink()
    CheckpointSigner(copy / "signer")
    shutil.copy(apart.folder / "signer" / "state.json", copy / "signer" / "state.json")
    assert "NOT COMPARED" in apart.command("verify", login="signer", status=3, folder=copy, PORTCULLIS_VERIFIER_KEY=apart.key).stdout


def test_a_check_that_cannot_be_made_says_what_is_missing(apart: Apart, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    assert "PORTCULLIS_VERIFIER_KEY" in apart.command("verify", login="signer", status=1, folder=empty).stderr
    assert "is also in portcullis_eraser" in apart.command("verify", login="eraser", status=1).stderr
    assert "may change the log" in apart.command("verify", login="deployer", status=1).stderr
    assert "There is no log in" in run("audit", "verify", "--data", str(empty), status=1).stderr
    assert not empty.exists()
    with psycopg.connect(apart.address("postgres"), autocommit=True) as administrator:
        administrator.execute("INSERT INTO tenant_login VALUES ('signer', 'rival')")
    # Row security would show it an empty log, which is intact.
    assert "may not see the tenant sample" in apart.command("verify", login="signer", status=1).stderr


@pytest.mark.parametrize("login", ["signer", "gateway"])
def test_letting_records_be_taken_again_under_another_login_names_the_setting(apart: Apart, tmp_path: Path, login: str) -> None:
    said = ("resume", "--another-signer", "--reason", "the folder is lost, case 4713")
    fresh = tmp_path / "fresh"
    refused = apart.command(*said, login=login, status=1, folder=fresh)
    assert "PORTCULLIS_DATABASE_OWNER_URL" in refused.stderr
    assert not fresh.exists(), "a refused command makes no key"
    done = apart.command(*said, login=login, status=0, folder=fresh, PORTCULLIS_DATABASE_OWNER_URL=apart.address("deployer"))
    assert "Records are taken again from entry 1; 1 had been signed before." in done.stdout
    assert apart.command("verify", login="signer", status=0, folder=fresh).stdout.startswith("Intact: 2 entries")


def test_the_owners_address_alone_is_enough_to_let_records_be_taken_again(apart: Apart, tmp_path: Path) -> None:
    back_up(apart.address("deployer"), tmp_path / "older.dump")
    asyncio.run(apart.grow())
    put_back(apart.cluster, apart.name, tmp_path / "older.dump")
    said, owner = ("--reason", "older backup put back, case 4711"), apart.address("deployer")
    done = run("audit", "resume", *said, "--data", str(apart.folder), PORTCULLIS_TENANT=TENANT, PORTCULLIS_DATABASE_OWNER_URL=owner)
    assert "Records are taken again from entry 1; 2 had been signed before." in done.stdout
    apart.command("verify", login="signer", status=0)


def test_a_given_key_is_replaced_by_another_and_the_memory_goes_on(apart: Apart) -> None:
    """As a mount gives it: the file can be read and neither written nor moved. `state.json` tells that it is the same signer."""
    key, old = apart.folder / "signer" / "signing.key", apart.key
    key.unlink()
    key.write_bytes(os.urandom(32))
    key.chmod(0o444)
    shown = run("signer", "--show-key", "--data", str(apart.folder), PORTCULLIS_TENANT=TENANT).stdout.strip()
    assert shown not in {"", old}
    assert "the newest checkpoint does not hold" in apart.command("verify", login="signer", status=2).stdout
    said = ("resume", "--reason", "new signing key, case 4712")
    assert "PORTCULLIS_DATABASE_OWNER_URL" in apart.command(*said, login="signer", status=1).stderr
    apart.command(*said, login="signer", status=0, PORTCULLIS_DATABASE_OWNER_URL=apart.address("deployer"))
    assert apart.command("verify", login="signer", status=0, PORTCULLIS_VERIFIER_KEY=shown).stdout.startswith("Intact: 2 entries")
