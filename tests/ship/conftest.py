"""What the checks of image, compose file and chart share."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings
from tests.conftest import ROOT, missing
from tests.services.postgres import FAST, Server, system_binaries
from tests.ship.dockerfile import Build, read

PREFIX = "PORTCULLIS_"
COMPOSE = ROOT / "examples" / "compose"


def misnamed(names: set[str]) -> set[str]:
    """Variables that the gateway would refuse at its start: neither a setting, nor a setting from a file, nor the file of settings."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return {name for name in names if name.startswith(PREFIX)} - known - {f"{name}_FILE" for name in known} - {"PORTCULLIS_CONFIG"}


def secret_settings() -> set[str]:
    """Variables whose value is a secret: they may come as files only."""
    return {PREFIX + name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}


def variables_in(text: str) -> set[str]:
    """Every PORTCULLIS_ name that stands in a text."""
    return {name.rstrip("_") for name in re.findall(r"\bPORTCULLIS_[A-Z0-9_]+\b", text)}


def pytest_configure(config: pytest.Config) -> None:
    """Name the mark of tests that take a minute."""
    config.addinivalue_line("markers", "slow: takes about a minute")


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """The compose file, anchors and merges resolved."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of secrets, freshly made."""
    if shutil.which("openssl") is None:
        missing("openssl makes the secrets of the compose file")
    copy = tmp_path_factory.mktemp("compose")
    shutil.copytree(COMPOSE, copy, dirs_exist_ok=True, ignore=lambda folder, names: names if folder.endswith("secrets") else [])
    (copy / "secrets").mkdir(exist_ok=True)
    make_secrets(copy)
    return copy / "secrets"


def make_secrets(folder: Path) -> None:
    """Run the script that makes them."""
    done = subprocess.run(["/bin/sh", str(folder / "make-secrets.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def set_up_roles(server: Server, secrets: Path) -> None:
    """Make the roles of the compose file on a fresh server."""
    statements, here = server.folder / "roles.sql", server.folder / "secrets"
    shutil.copytree(secrets, here)
    text = (COMPOSE / "postgres" / "10-roles.sql").read_text(encoding="utf-8").replace("/run/secrets/", f"{here}/")
    statements.write_text(text, encoding="utf-8")
    for path in (server.folder, here):
        path.chmod(0o755)
    server.run("psql", "-v", "ON_ERROR_STOP=1", "-h", server.folder, "-p", server.port, "-U", "postgres", "-f", statements)


@pytest.fixture(scope="session")
def server(secrets: Path) -> Iterator[Server]:
    """A PostgreSQL set up as the compose file does: the roles by the same file, the rules of access by the same file, TLS."""
    found = next(iter(system_binaries()), None)
    if found is None:
        missing("PostgreSQL with TLS: install the system's postgresql")
    tls = {"ssl": "on", "ssl_cert_file": "server.pem", "ssl_key_file": "server.key", "ssl_min_protocol_version": "TLSv1.3"}
    made = Server.make(FAST | tls, found)
    try:
        data = made.folder / "data"
        owner = data.stat()
        for source, target in (("postgres.pem", "server.pem"), ("postgres.key", "server.key")):
            shutil.copyfile(secrets / source, data / target)
            (data / target).chmod(0o600)
            shutil.chown(data / target, owner.st_uid, owner.st_gid)
        made.start()
        set_up_roles(made, secrets)
        shutil.copyfile(COMPOSE / "postgres" / "pg_hba.conf", data / "pg_hba.conf")
        made.run("pg_ctl", "reload", "-D", data)
        yield made
    finally:
        made.remove()


def let_in() -> set[str]:
    """What .dockerignore lets into a build."""
    return {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")}


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the last stage copies, made by the steps of the stages before it: with this machine's Python, in a folder, read-only.

    Made once for all processes of a run. `context` beside it is what the build was sent, as it stood then.
    """
    if os.environ.get("UV_OFFLINE") or os.environ.get("PIP_NO_INDEX"):
        missing("the steps of the Dockerfile need a package registry")
    run = tmp_path_factory.getbasetemp()
    folder = run.parent if os.environ.get("PYTEST_XDIST_WORKER") else run
    root, done = folder / "image-a", folder / "image.done"
    with (folder / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _make_image(folder / "context", root)
            done.touch()
    return root / "opt" / "portcullis"


def _make_image(context: Path, root: Path) -> None:
    for name in let_in():
        source, target = ROOT / name, context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy2(source, target)
    _, stages = read(ROOT / "Dockerfile")
    build = Build(context, root, stages)
    for name in list(stages)[:-1]:
        build.run(name)
    subprocess.run(["/bin/chmod", "-R", "a-w", str(root / "opt" / "portcullis")], check=True)
