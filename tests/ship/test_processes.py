"""Migrations, signer, worker and gateway of the compose file, from the image's tree, each with the variables the file gives it.

PostgreSQL is real and set up by the file's own roles and rules. There is no OpenSearch here: without its address the index is embedded.
"""

import http.client
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.audit.notes import open_checkpoint
from app.wiring.heartbeat import FILE
from tests.conftest import ROOT
from tests.services.postgres import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
_WITHIN_S = 60.0


@dataclass(frozen=True)
class Shop:
    """The four processes' variables, with the paths of the image put where things lie here."""

    image: Path
    folder: Path
    server: Server
    services: dict[str, Any]

    def environment(self, name: str, **more: object) -> dict[str, str]:
        """What one process sees, and nothing of this machine's."""
        given = {key: str(value) for key, value in self.services[name]["environment"].items() if "OPENSEARCH" not in key}
        places = {"/run/secrets/": f"{self.folder}/secrets/", "/policies": str(ROOT / "policies"), "/data": str(self.data(name))}
        for here, there in places.items():
            given = {key: value.replace(here, there) if value.startswith(here) else value for key, value in given.items()}
        plain = {"PATH": f"{self.image}/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "ORT_DISABLE_TELEMETRY": "1"}
        return {**plain, "TMPDIR": str(self.data(name)), **given, **{key: str(value) for key, value in more.items()}}

    def data(self, name: str) -> Path:
        """The data folder of one process."""
        folder = self.folder / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def start(self, name: str, stack: ExitStack, **more: object) -> "subprocess.Popen[str]":
        """Start a process; it is stopped, and its words closed, with `stack`."""
        words = stack.enter_context((self.folder / f"{name}.log").open("w"))
        command = [str(self.image / "bin" / "portcullis"), *self.services[name]["command"]]
        process = subprocess.Popen(command, env=self.environment(name, **more), cwd="/", stdout=words, stderr=words, text=True)

        def stop() -> None:
            process.terminate()
            process.wait(30)

        stack.callback(stop)
        return process

    def said(self, name: str) -> str:
        """What a process wrote."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shop(image: Path, server: Server, secrets: Path, compose: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Secrets under the names that the compose file mounts them by, and an address that leads to the real server."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "secrets").mkdir()
    for name, one in compose["secrets"].items():
        text = (secrets / Path(one["file"]).name).read_bytes()
        here = text.replace(b"@postgres:5432/", f"@postgres:{server.port}/".encode()).replace(
            b"/run/secrets/", f"{folder}/secrets/".encode()
        )
        (folder / "secrets" / name).write_bytes(here + (b"&hostaddr=127.0.0.1" if name.endswith("_url") else b""))
    made = Shop(image, folder, server, compose["services"])
    (made.data("signer") / "signer").mkdir()
    shutil.copy(secrets / "signing.key", made.data("signer") / "signer" / "signing.key")
    return made


@pytest.fixture(scope="module")
def migrated(shop: Shop) -> Shop:
    """The schema made as the compose file makes it; twice, because it is made at each start."""
    for _ in range(2):
        command = [str(shop.image / "bin" / "portcullis"), *shop.services["migrate"]["command"]]
        done = subprocess.run(command, env=shop.environment("migrate"), cwd="/", capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    return shop


def _until(holds: Callable[[], object], process: "subprocess.Popen[str]", shop: Shop, name: str) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not holds():
        assert process.poll() is None, shop.said(name)
        assert time.monotonic() < deadline, shop.said(name)
        time.sleep(0.2)


def _ready(port: int) -> dict[str, str] | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body: dict[str, Any] = json.loads(answer.read())
    except OSError:
        return None
    else:
        return body["checks"] if answer.status == 200 else None
    finally:
        connection.close()


def _answers(connection: http.client.HTTPConnection) -> bool:
    socket_before = connection.sock
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    answer.read()
    return answer.status == 200 and (socket_before is None or connection.sock is socket_before)


def _signed(published: Path, key: str) -> int:
    """Entries under the newest checkpoint that the signer published; every one of them is signed by `key`."""
    if not published.exists():
        return 0
    notes = re.split(r"\n\n(?=portcullis/)", published.read_text(encoding="utf-8"))
    return max(open_checkpoint(note.rstrip("\n") + "\n", key).size for note in notes if note)


def test_the_parts_start_in_their_order_and_the_signer_signs_what_the_gateway_writes(migrated: Shop) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    published = migrated.data("signer") / "signer" / "checkpoints.txt"
    key = (migrated.folder / "secrets" / "verifier_key").read_text(encoding="utf-8")
    with ExitStack() as stack:
        signer = migrated.start("signer", stack)
        worker = migrated.start("worker", stack)
        gateway = migrated.start("gateway", stack, PORTCULLIS_PORT=port)
        _until(lambda: _ready(port), gateway, migrated, "gateway")
        kept, idle_since = http.client.HTTPConnection("127.0.0.1", port, timeout=5), time.monotonic()
        stack.callback(kept.close)
        assert _answers(kept)
        _until(lambda: _signed(published, key) > 0, signer, migrated, "signer")
        _until((migrated.data("signer") / FILE).exists, signer, migrated, "signer")
        _until((migrated.data("worker") / FILE).exists, worker, migrated, "worker")
        assert set((_ready(port) or {}).values()) == {"ok"}
        time.sleep(max(0.0, idle_since + 6.0 - time.monotonic()))  # five seconds are what the server keeps unless told otherwise
        assert _answers(kept), "a balancer's idle connection was closed"
    assert not (migrated.data("gateway") / "signer" / "signing.key").exists(), "only the signer has a key"
    for name, process in (("signer", signer), ("worker", worker), ("gateway", gateway)):
        assert process.returncode in {0, -15}, migrated.said(name)
        assert "Traceback" not in migrated.said(name)


def test_the_gateway_does_not_start_with_the_owners_login(migrated: Shop) -> None:
    wrong = migrated.environment("gateway", PORTCULLIS_DATABASE_URL_FILE=migrated.folder / "secrets" / "database_owner_url")
    done = subprocess.run(
        [str(migrated.image / "bin" / "portcullis"), "doctor"], env=wrong, cwd="/", capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "portcullis_gateway" in done.stdout + done.stderr


def test_no_entry_of_the_log_can_be_taken_away_with_any_login_of_a_process(migrated: Shop) -> None:
    for login in ("gateway", "signer", "auditor", "eraser"):
        password = (migrated.folder / "secrets" / f"database_{login}_password").read_text(encoding="utf-8")
        place = f"host=postgres hostaddr=127.0.0.1 port={migrated.server.port} dbname=portcullis user={login} password={password}"
        with psycopg.connect(f"{place} sslmode=verify-full sslrootcert={migrated.folder}/secrets/ca") as connection:
            for statement in ("DELETE FROM audit_event", "UPDATE audit_event SET log = log", "TRUNCATE audit_event"):
                with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.RaiseException)):
                    connection.execute(statement)
                connection.rollback()
