"""The compose file: every service is shut in, every secret is a file, and only two doors are open, on loopback."""

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.api import ROUTERS
from app.cli import app as commands
from app.wiring.heartbeat import FILE
from tests.conftest import ROOT
from tests.ship.conftest import misnamed, secret_settings, variables_in

SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
OURS = {"gateway": "serve", "worker": "worker", "signer": "signer", "migrate": "db"}
TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")


def _sources(service: dict[str, Any], kind: str) -> set[str]:
    return {one if isinstance(one, str) else one["source"] for one in service.get(kind, [])}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_neither_write_nor_rise_nor_take_the_whole_machine(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode", "extra_hosts"}
    user = service["user"].split(":")[0]
    assert user.isdigit()
    assert int(user) > 0
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= limits.keys()
    assert all("mode=" in one and "nosuid" in one and "size=" in one for one in service["tmpfs"] if "tmp:" in one)
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_stays_says_when_it_is_well(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    if name == "migrate":
        assert check == {"disable": True}
    else:
        assert check["test"][0] == "CMD"
        assert {"interval", "timeout", "retries"} <= check.keys()


@pytest.mark.parametrize("name", ["worker", "signer"])
def test_a_process_that_answers_nobody_is_well_while_its_sign_of_life_is_young(name: str, tmp_path: Path) -> None:
    command, shell, option, line = SERVICES[name]["healthcheck"]["test"]
    assert (command, shell, option) == ("CMD", "/bin/sh", "-c")
    line = line.replace("$$", "$").replace("/data/alive", str(tmp_path / FILE))

    def is_well() -> bool:
        return subprocess.run([shell, option, line], check=False, capture_output=True).returncode == 0

    assert not is_well()
    (tmp_path / FILE).touch()
    assert is_well()
    os.utime(tmp_path / FILE, (time.time() - 61, time.time() - 61))
    assert not is_well()


def test_only_the_pages_and_the_sign_in_have_a_door_and_only_on_this_machine(compose: dict[str, Any]) -> None:
    doors = {name: service["ports"] for name, service in compose["services"].items() if service.get("ports")}
    assert set(doors) == {"gateway", "keycloak"}
    for ports in doors.values():
        assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)


def test_what_holds_data_is_reached_over_networks_without_a_way_out(compose: dict[str, Any]) -> None:
    networks = {name: set(service["networks"]) for name, service in compose["services"].items()}
    inner = {name for name, network in compose["networks"].items() if network.get("internal")}
    assert inner == {"records", "index"}
    for name, joined in networks.items():
        assert (joined <= inner) is (name not in {"gateway", "keycloak"}), name
    assert networks["postgres"] == networks["signer"] == networks["migrate"] == {"records"}
    assert networks["opensearch"] == {"index"}
    assert networks["keycloak"] == {"edge"}, "who signs people in sees neither database nor index"


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_built_here_or_pinned_to_a_full_version(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":\d+\.\d+(\.\d+)?(-[a-z]+)?$", service["image"])
    if name in OURS or "build" in service:
        assert service["pull_policy"] == "never", "a name without a registry could be fetched from anybody's"


def test_every_file_that_is_mounted_exists_or_is_made_by_the_script(compose: dict[str, Any]) -> None:
    for one in compose["configs"].values():
        assert (ROOT / one["file"]).is_file(), one
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            if isinstance(volume, dict):
                assert volume["read_only"] is True
                assert (ROOT / volume["source"]).is_dir()
    for one in compose["secrets"].values():
        assert Path(one["file"]).parent == Path("examples/compose/secrets"), one


def test_what_is_declared_is_used_and_what_is_used_is_declared(compose: dict[str, Any]) -> None:
    for kind in ("secrets", "configs"):
        used = set().union(*(_sources(service, kind) for service in compose["services"].values()))
        assert used == set(compose[kind]), kind
    volumes = {one.split(":")[0] for service in SERVICES.values() for one in service.get("volumes", []) if isinstance(one, str)}
    assert volumes == set(compose["volumes"])


def test_each_secret_is_seen_by_those_who_need_it_and_by_nobody_else(compose: dict[str, Any]) -> None:
    seen = {
        secret: {name for name, one in compose["services"].items() if secret in _sources(one, "secrets")} for secret in compose["secrets"]
    }
    assert seen["signing_key"] == {"signer"}, "no gateway holds the key that signs the log"
    assert seen["database_owner_url"] == {"migrate"}
    assert seen["database_signer_url"] == {"signer"}
    assert seen["database_superuser_password"] == {"postgres"}
    assert seen["database_gateway_url"] == {"gateway", "worker"}
    assert seen["oidc_client_secret"] == {"gateway", "keycloak"}, "the worker takes strangers' files apart and signs nobody in"
    assert seen["keycloak_administrator_password"] == {"keycloak"}
    assert seen["opensearch_key"] == {"opensearch"}


def test_no_secret_stands_in_the_file_or_in_an_environment(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            assert variable not in secret_settings(), variable
            if re.search(r"PASSWORD|SECRET|TOKEN|_KEY", variable):
                assert str(value).startswith("/run/secrets/"), f"{name}: {variable}"
    assert not re.search(r"(password|secret|token)\s*[:=]\s*[\"']?[A-Za-z0-9+/]{8,}", TEXT, re.IGNORECASE)


@pytest.mark.parametrize("name", OURS)
def test_each_file_that_a_variable_names_is_mounted_there(name: str) -> None:
    service = SERVICES[name]
    mounted = {f"/run/secrets/{one}" if isinstance(one, str) else one["target"] for one in service["secrets"]}
    named = {value for variable, value in service["environment"].items() if variable.endswith("_FILE")}
    assert named
    assert named <= mounted


def test_every_variable_of_ours_is_a_setting_and_each_process_gets_the_settings_it_needs(compose: dict[str, Any]) -> None:
    assert misnamed(variables_in(TEXT)) == set()
    environment = {name: compose["services"][name]["environment"] for name in OURS}
    assert environment["gateway"]["PORTCULLIS_BACKGROUND"] == "false", "work and signatures have processes of their own"
    assert json.loads(environment["gateway"]["PORTCULLIS_OPENSEARCH_URL"]) == ["https://opensearch:9200"]
    own = {"PORTCULLIS_OIDC_CLIENT_SECRET_FILE"}
    assert {name: value for name, value in environment["gateway"].items() if name not in own} == environment["worker"]
    assert own <= environment["gateway"].keys()
    assert "PORTCULLIS_DATABASE_OWNER_URL_FILE" not in environment["gateway"]
    assert set(environment["migrate"]) == {"PORTCULLIS_DATA", "PORTCULLIS_DATABASE_OWNER_URL_FILE"}


def test_the_database_takes_as_many_connections_as_its_page_reckons() -> None:
    page = (ROOT / "docs" / "operations" / "postgresql.md").read_text(encoding="utf-8")
    (each, more), (most,) = re.findall(r"≥ (\d+) × \(gateways \+ workers\) \+ (\d+)", page)[0], re.findall(r"max_connections=(\d+)", TEXT)
    assert int(most) >= int(each) * 2 + int(more)


def test_each_command_is_one_of_the_command_line() -> None:
    known = {one.name or (one.callback.__name__ if one.callback else "") for one in commands.registered_commands}
    known |= {one.name for one in commands.registered_groups}
    for name, command in OURS.items():
        assert SERVICES[name]["command"][0] == command
        assert command in known, f"{name} runs `portcullis {command}`, which does not exist"


def test_nobody_starts_before_what_they_need() -> None:
    def condition(who: str, what: str) -> str | None:
        found = SERVICES[who].get("depends_on", {}).get(what)
        return found["condition"] if found else None

    assert condition("migrate", "postgres") == "service_healthy"
    for name in ("gateway", "worker", "signer"):
        assert condition(name, "migrate") == "service_completed_successfully"
    for name in ("gateway", "worker"):
        assert condition(name, "opensearch") == "service_healthy"
    assert condition("gateway", "signer") == "service_started"
    assert SERVICES["migrate"]["restart"].startswith("on-failure")


def test_the_gateway_counts_as_well_when_it_is_ready() -> None:
    paths = {route.path for router in ROUTERS for route in router.routes if hasattr(route, "path")}
    asked = set(re.findall(r"'(/[a-z]+)'", " ".join(SERVICES["gateway"]["healthcheck"]["test"])))
    assert asked == {"/readyz"}
    assert asked | {"/healthz", "/metrics"} <= paths


def test_the_issuer_is_one_address_from_inside_and_from_the_browser() -> None:
    issuer = SERVICES["gateway"]["environment"]["PORTCULLIS_OIDC_ISSUER"]
    hostname = SERVICES["keycloak"]["environment"]["KC_HOSTNAME"]
    assert issuer == f"{hostname}/realms/portcullis"
    assert hostname.startswith("https://")
    assert hostname.removeprefix("https://").split(":")[0] in SERVICES["keycloak"]["networks"]["edge"]["aliases"]
    assert SERVICES["keycloak"]["environment"]["GATEWAY_URL"] == SERVICES["gateway"]["environment"]["PORTCULLIS_PUBLIC_URL"]
