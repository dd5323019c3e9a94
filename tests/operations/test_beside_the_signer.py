"""The lines and the manifest of docs/operations/backup.md and keys.md that work beside the signer's folder fit compose file and chart."""

import re
import shlex
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.cli.test_commands import inside
from tests.conftest import ROOT
from tests.ship.chart import KUBERNETES, Manifest, merged, render, value_sets

GIVEN = {"signer": {"existingSecret": "portcullis-signing-key"}}
OWNER = "PORTCULLIS_DATABASE_OWNER_URL_FILE"


def page(name: str) -> str:
    return (ROOT / "docs" / "operations" / f"{name}.md").read_text(encoding="utf-8")


def blocks(name: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.+?)\n```", page(name), re.DOTALL)


@cache
def released(*, is_key_given: bool = False) -> dict[tuple[str, str], Manifest]:
    values = value_sets()["minimal"]
    return {(one.kind, one.name): one for one in render(merged(values, GIVEN) if is_key_given else values)}


def job() -> Manifest:
    return Manifest(yaml.safe_load(blocks("backup", "yaml")[0]))


def pod_of(one: Manifest) -> dict[str, Any]:
    assert one.pod is not None
    return one.pod


def volume(one: Manifest, name: str) -> dict[str, Any]:
    (found,) = (volume for volume in pod_of(one)["volumes"] if volume["name"] == name)
    return dict(found)


@pytest.mark.parametrize("version", KUBERNETES)
def test_the_job_of_the_page_is_one_that_kubernetes_takes(version: str) -> None:
    kubernetes_validate.validate(job().body, version, strict=True)


def test_the_job_of_the_page_holds_the_signers_claim_and_the_owners_secret_and_no_more_rights_than_the_signer() -> None:
    one, signer = job(), released()["StatefulSet", "ask-portcullis-signer"]
    assert volume(one, "signer") == volume(signer, "signer")
    (source,) = volume(released()["Job", "ask-portcullis-migrations"], "secrets")["projected"]["sources"]
    assert volume(one, "secrets")["secret"] == {
        "secretName": source["secret"]["name"],
        "defaultMode": 0o440,
        "items": source["secret"]["items"],
    }
    for key in ("securityContext", "serviceAccountName", "automountServiceAccountToken", "enableServiceLinks"):
        assert pod_of(one)[key] == pod_of(signer)[key]
    for key in ("securityContext", "volumeMounts"):
        assert one.container[key] == signer.container[key]
    assert one.environment[OWNER] == "/run/secrets/portcullis/owner-url"
    assert {name: value for name, value in one.environment.items() if name != OWNER}.items() <= signer.environment.items()
    rule = released()["NetworkPolicy", "ask-portcullis-signer"].body["spec"]
    assert rule["podSelector"]["matchLabels"].items() <= one.labels.items()
    assert "--reason" in inside(*one.container["args"][:2], "--help")


def test_a_given_key_is_mounted_as_the_signer_has_it() -> None:
    signer = released(is_key_given=True)["StatefulSet", "ask-portcullis-signer"]
    added = yaml.safe_load(blocks("backup", "yaml")[1])
    assert added["mount"] in signer.container["volumeMounts"]
    assert added["volume"] == volume(signer, "signing-key")


def test_the_names_in_the_lines_for_kubernetes_are_those_of_the_release() -> None:
    names = {name for _, name in released()} | {"ask-portcullis-signer-0", "ask-portcullis-resume"}
    lines = [line for name in ("backup", "keys") for line in page(name).splitlines() if line.startswith("kubectl ")]
    assert len(lines) >= 8
    for line in lines:
        assert "--namespace knowledge" in line
        assert set(re.findall(r"\bask-portcullis[a-z0-9-]*", line)) <= names, line
    script = yaml.safe_load(blocks("keys", "yaml")[0])["command"]
    assert script[:2] == ["/bin/sh", "-ec"]
    moved, shown, resumed = (shlex.split(line) for line in script[2].splitlines())
    assert moved[:3] == ["mv", "-n", "/data/signer/signing.key"]
    assert shown == ["portcullis", "signer", "--show-key"]
    assert resumed[1:5] == ["portcullis", "audit", "resume", "--reason"]


@pytest.mark.parametrize("name", ["backup", "keys"])
def test_the_line_for_compose_runs_the_signers_service_with_the_owners_address(name: str) -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    (line,) = re.findall(r"^docker compose run (.+?[^\\])$", page(name), re.MULTILINE | re.DOTALL)
    words = shlex.split(line.replace("\\\n", " "))
    source, target, mode = words[words.index("--volume") + 1].split(":")
    assert source == f"$PWD/{compose['secrets']['database_owner_url']['file'].removeprefix('./')}"
    assert mode == "ro"
    assert words[words.index("--env") + 1] == f"{OWNER}={target}"
    service = words.index("signer")
    assert {"--rm", "--no-deps"} <= set(words[:service])
    assert "signer:/data" in compose["services"]["signer"]["volumes"]
    assert words[service + 1 : service + 4] == ["audit", "resume", "--reason"]
    for one in re.findall(r"^docker compose (?:exec|stop|up).*$", page(name), re.MULTILINE):
        assert {word for word in one.split()[3:] if not word.startswith("-")} - {"portcullis", "audit", "verify"} <= set(
            compose["services"]
        ), one
