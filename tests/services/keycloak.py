"""A real Keycloak on loopback over TLS, with a realm file as it ships. Maven fetches it once; Java is that of the test nodes."""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.services.opensearch.jars import NotInstalledError, find_java

VERSION = "26.7.3"
"""That of the compose file."""
_SHA256 = "77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47"
_BUILD = ("--db=dev-mem", "--cache=local", "--health-enabled=true")
_STARTS_WITHIN_S = 240
_ADMINISTRATOR, _PASSWORD = "administrator", "administrator-of-this-test"


@dataclass(frozen=True)
class Keycloak:
    """A server that answers at `address`, trusted by whoever trusts `authority`."""

    address: str
    authority: Path

    @property
    def issuer(self) -> str:
        """The issuer of the realm that ships."""
        return f"{self.address}/realms/portcullis"

    def token(self, address: str, form: Mapping[str, str]) -> dict[str, Any]:
        """What the token endpoint of a realm answers. Raises HTTPError."""
        return dict(self._ask("POST", f"{address}/protocol/openid-connect/token", urlencode(form).encode()))

    def manage(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Ask the administration of the realm that ships; `None` where it answers nothing."""
        form = {"grant_type": "password", "client_id": "admin-cli", "username": _ADMINISTRATOR, "password": _PASSWORD}
        token = self.token(f"{self.address}/realms/master", form)["access_token"]
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return self._ask(method, f"{self.address}/admin/realms/portcullis{path}", data, headers)

    def _ask(self, method: str, url: str, data: bytes | None = None, headers: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
        request = urllib.request.Request(url, data, dict(headers or {}), method=method)  # noqa: S310 - the test's own server
        trust = ssl.create_default_context(cafile=str(self.authority))
        with urllib.request.urlopen(request, timeout=60, context=trust) as answer:  # noqa: S310 - as above
            content = answer.read()
        return json.loads(content) if content else None


def fetch() -> Path:
    """The unpacked server with its build options settled, in the user's cache; made once. Raises NotInstalledError."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portcullis-keycloak" / _SHA256[:12]
    base.mkdir(parents=True, exist_ok=True)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / "server").exists():
            with tempfile.TemporaryDirectory(dir=base) as name:
                home = _unpacked(Path(name))
                subprocess.run([str(home / "bin" / "kc.sh"), "build", *_BUILD], env=_java(), check=True, capture_output=True)
                home.rename(base / "server")
    return base / "server"


@contextmanager
def serving(home: Path, realm: Path, certificate: tuple[Path, Path, Path], variables: Mapping[str, str]) -> Iterator[Keycloak]:
    """Start a server with a realm whose `variables` are filled in. `certificate` is (certificate, key, authority) for `localhost`."""
    cert, key, authority = certificate
    folder = Path(tempfile.mkdtemp(prefix="keycloak-"))
    # A home of its own: the script follows links to find where `data` lies.
    for name in ("lib", "providers", "themes", "conf"):
        (folder / name).symlink_to(home / name)
    (folder / "bin").mkdir()
    shutil.copy2(home / "bin" / "kc.sh", folder / "bin")
    (folder / "data" / "import").mkdir(parents=True)
    shutil.copy(realm, folder / "data" / "import" / "portcullis-realm.json")
    port, management = _free_port(), _free_port()
    made = Keycloak(f"https://localhost:{port}", authority)
    command = [
        *(str(folder / "bin" / "kc.sh"), "start", "--optimized", "--import-realm", "--cache=local"),
        *(f"--hostname={made.address}", "--http-host=127.0.0.1", f"--https-port={port}"),
        *(f"--https-certificate-file={cert}", f"--https-certificate-key-file={key}", "--http-management-scheme=http"),
        *("--http-management-host=127.0.0.1", f"--http-management-port={management}"),
    ]
    login = {"KC_BOOTSTRAP_ADMIN_USERNAME": _ADMINISTRATOR, "KC_BOOTSTRAP_ADMIN_PASSWORD": _PASSWORD}
    environment = {**_java(), **login, **variables}
    with (folder / "log").open("wb") as words:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True
        )
        try:
            _wait(process, f"http://127.0.0.1:{management}/health/ready", folder / "log")
            yield made
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
            shutil.rmtree(folder, ignore_errors=True)


def _unpacked(folder: Path) -> Path:
    program = shutil.which("mvn")
    if program is None:
        message = "no mvn on the path: install Maven, which fetches Keycloak once (Debian: apt-get install maven)"
        raise NotInstalledError(message)
    artifact = f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:tar.gz"
    pom = Path(__file__).parent / "opensearch" / "pom.xml"
    command = [program, "-q", "-B", "-f", pom, "dependency:copy", artifact, f"-DoutputDirectory={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = "mvn could not fetch Keycloak:\n" + (done.stdout + done.stderr)[-3000:]
        raise NotInstalledError(message)
    packed = next(folder.glob("*.tar.gz"))
    with packed.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != _SHA256:
        message = f"Keycloak {VERSION} is not the file that was pinned: its SHA-256 is {found}"
        raise NotInstalledError(message)
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"keycloak-{VERSION}"


def _java() -> dict[str, str]:
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    # The quick compiler only: a server of one minute never earns back what the other one costs.
    options = {"JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx384m", "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1"}
    return {**plain, **options, "JAVA_HOME": str(find_java().parents[1])}


def _wait(process: "subprocess.Popen[bytes]", ready: str, log: Path) -> None:
    ends = time.monotonic() + _STARTS_WITHIN_S
    while process.poll() is None and time.monotonic() < ends:
        with suppress(OSError), urllib.request.urlopen(ready, timeout=2) as answer:  # noqa: S310 - the test's own server
            if answer.status == 200:
                return
        time.sleep(0.25)
    message = f"Keycloak did not start: {log.read_text(encoding='utf-8', errors='replace')[-3000:]}"
    raise RuntimeError(message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
