"""What the rehearsals of backup and restore share: PostgreSQL's own programs, OpenSearch's snapshots, one person's view of the index."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from typer.testing import CliRunner

from app.answer.retrieval import SEARCH_ACTIONS
from app.cli.auditing import app as audit_commands
from app.domain.search import Candidates, IndexQuery, Matrix
from app.wiring import Services
from tests.conftest import caller_as
from tests.services.postgres import Cluster, binaries

ROLES = """
CREATE ROLE deployer LOGIN CREATEROLE;
SET ROLE deployer;
CREATE ROLE portcullis_owner NOLOGIN NOBYPASSRLS;
CREATE ROLE portcullis_gateway NOLOGIN NOBYPASSRLS;
CREATE ROLE portcullis_signer NOLOGIN NOBYPASSRLS;
CREATE ROLE portcullis_auditor NOLOGIN NOBYPASSRLS;
CREATE ROLE portcullis_eraser NOLOGIN NOBYPASSRLS;
GRANT portcullis_owner TO deployer;
RESET ROLE;
CREATE ROLE gateway LOGIN IN ROLE portcullis_gateway;
CREATE ROLE signer LOGIN IN ROLE portcullis_signer;
CREATE ROLE all_in_one LOGIN IN ROLE portcullis_gateway, portcullis_signer;
"""
"""What a new server needs before a backup goes in: a backup of one database holds no roles. Passwords are left out here.

The last one is for tests alone, whose gateway signs by itself; no page makes it, and no command of these rehearsals uses it.
"""


GROUPS = ("portcullis_gateway", "portcullis_signer", "portcullis_auditor", "portcullis_eraser")


def _program(name: str, *arguments: str) -> None:
    folder = binaries()
    assert folder is not None
    done = subprocess.run([str(folder / name), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name}: {done.stderr}"


def back_up(address: str, file: Path) -> None:
    """Write the database at `address` into a file, as the owner of its tables: one moment of it, whoever writes meanwhile."""
    _program("pg_dump", "--format=custom", f"--file={file}", address)


def put_back(cluster: Cluster, name: str, file: Path) -> None:
    """Make the database `name` anew from a file, whatever is there now."""
    cluster.drop(name)
    with psycopg.connect(cluster.url, autocommit=True) as administrator:
        administrator.execute(f"CREATE DATABASE {name} OWNER deployer TEMPLATE template0")
        administrator.execute(f"REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC")
        administrator.execute(f"GRANT CONNECT ON DATABASE {name} TO {', '.join(GROUPS)}")
    _program("pg_restore", "--exit-on-error", f"--dbname={cluster.address(name, 'postgres')}", str(file))


@dataclass(frozen=True)
class Elsewhere:
    """The OpenSearch side of one installation: its indexes, by their prefix."""

    url: str
    prefix: str

    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """One request. Raises urllib.error.HTTPError."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - the test's own server
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
            return json.load(answer)

    def names(self) -> list[str]:
        """Every index of this installation."""
        return sorted(self.ask("GET", f"/{self.prefix}-*"))

    def delete(self, *names: str) -> None:
        """Delete indexes, each by its name: a careful cluster takes no patterns."""
        for name in names or self.names():
            self.ask("DELETE", f"/{name}")

    @contextmanager
    def repository(self) -> Iterator[str]:
        """A place for snapshots in the server's own folder for them."""
        name = f"repository-{self.prefix}"
        self.ask("PUT", f"/_snapshot/{name}", {"type": "fs", "settings": {"location": name}})
        yield name
        for one in self.ask("GET", f"/_snapshot/{name}/_all")["snapshots"]:
            self.ask("DELETE", f"/_snapshot/{name}/{one['snapshot']}")
        self.ask("DELETE", f"/_snapshot/{name}")

    def snapshot(self, repository: str) -> None:
        """Keep every index of this installation."""
        body = {"indices": f"{self.prefix}-*", "include_global_state": False}
        done = self.ask("PUT", f"/_snapshot/{repository}/nightly?wait_for_completion=true", body)
        assert done["snapshot"]["state"] == "SUCCESS", done

    def restore(self, repository: str) -> None:
        """Delete what is there, then bring back what was kept, aliases included."""
        self.delete()
        body = {"indices": f"{self.prefix}-*", "include_global_state": False, "include_aliases": True}
        done = self.ask("POST", f"/_snapshot/{repository}/nightly/_restore?wait_for_completion=true", body)
        assert done["snapshot"]["shards"]["failed"] == 0, done


def services_of(settings: dict[str, Any]) -> tuple[str, Elsewhere]:
    """(name of the database, OpenSearch side) of what `services_noted_in` gave."""
    return urlsplit(settings["database_url"]).path[1:], Elsewhere(settings["opensearch_url"][0], settings["opensearch_prefix"])


async def seen_by_the_index(services: Services, person: str, text: str) -> Candidates:
    """What the index alone gives for a person's question, statistics included, before any re-check."""
    subject = (await caller_as(services, person)).subject
    async with services.database.read() as tx:
        snapshot = await services.policy.current(tx, services.tenant)
    vectors: Matrix = await services.embedder.embed([text])
    return await services.index.search(IndexQuery(text, vectors[0], {}), snapshot.read_filter(subject, SEARCH_ACTIONS))


def resume(folder: Path, settings: dict[str, Any], *arguments: str) -> tuple[int, str]:
    """Run `portcullis audit resume` where the signer's folder is, with the owner's address; (exit status, what it printed)."""
    owner = settings["database_owner_url"]
    return _audit({"database_url": _under("signer", settings), "database_owner_url": owner}, "resume", folder, arguments)


def verify(folder: Path, settings: dict[str, Any], *arguments: str, login: str = "signer", key: str = "") -> tuple[int, str]:
    """Run `portcullis audit verify` with nothing but the login of one duty and, elsewhere, the public key; as `resume`."""
    return _audit({"database_url": _under(login, settings), "verifier_key": key}, "verify", folder, arguments)


def _audit(given: dict[str, str], command: str, folder: Path, arguments: tuple[str, ...]) -> tuple[int, str]:
    environment = {f"PORTCULLIS_{name.upper()}": value for name, value in given.items()}
    done = CliRunner().invoke(audit_commands, [command, "--data", str(folder), *arguments], env=environment)
    return done.exit_code, done.output


def _under(login: str, settings: dict[str, Any]) -> str:
    address: str = settings["database_url"]
    assert "//all_in_one@" in address
    return address.replace("//all_in_one@", f"//{login}@")
