"""The chart, rendered over several sets of values: every object is one that Kubernetes takes, and none opens more than it must."""

import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils

from app.cli import app as commands
from app.wiring.heartbeat import FILE
from tests.conftest import ROOT
from tests.ship import chart
from tests.ship.chart import CHART, KUBERNETES, Manifest, render, value_sets
from tests.ship.conftest import misnamed, secret_settings, variables_in

SETS = value_sets()
RENDERED = {name: render(values) for name, values in SETS.items()}
OPEN = sorted(set(RENDERED) - {"bootstrap"})
EVERY_POD = [pytest.param(one, id=f"{name}-{one.name}") for name, made in RENDERED.items() for one in made if one.pod]


def _one(name: str, kind: str, ends: str) -> Manifest:
    (found,) = (one for one in RENDERED[name] if one.kind == kind and one.name.endswith(ends))
    return found


def _of(name: str, kind: str) -> list[Manifest]:
    return [one for one in RENDERED[name] if one.kind == kind]


# ---- what Kubernetes takes ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def schemas_are_read_once() -> Iterator[None]:
    """The validator reads a megabyte of JSON anew for each object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", RENDERED)
def test_every_object_is_valid_for_each_version(name: str, version: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    for one in RENDERED[name]:
        if one.kind != "ServiceMonitor":
            kubernetes_validate.validate(one.body, version, strict=True)


@pytest.mark.parametrize("name", RENDERED)
def test_the_chart_passes_its_linter(name: str) -> None:
    report = helm_python.lint(str(CHART), SETS[name], strict=True, kube_version=f"v{KUBERNETES[0]}.0")
    assert report["errors"] == []
    assert [one for one in report["messages"] if one["severity"] > 1] == []


@pytest.mark.parametrize("name", RENDERED)
def test_the_real_command_makes_the_same(name: str, tmp_path: Path) -> None:
    if chart.helm() is None:
        pytest.skip("no helm on the PATH; its library rendered the same chart")
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(SETS[name]), encoding="utf-8")
    assert (linted := chart.run_helm("lint", values, "--strict")).returncode == 0, linted.stdout
    made = chart.run_helm("template", values)
    assert made.returncode == 0, made.stderr
    by_name = {(one.kind, one.name): one.body for one in chart.parsed(made.stdout)}
    assert by_name == {(one.kind, one.name): one.body for one in RENDERED[name]}


@pytest.mark.parametrize("name", RENDERED)
def test_no_two_objects_have_one_name_and_all_carry_the_release(name: str) -> None:
    names = [(one.kind, one.name) for one in RENDERED[name]]
    assert len(names) == len(set(names))
    for one in RENDERED[name]:
        labels = one.body["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == chart.RELEASE
        assert len(one.name) <= 63


# ---- what a pod may do ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one", EVERY_POD)
def test_a_pod_runs_as_a_number_cannot_rise_and_cannot_write_its_own_files(one: Manifest) -> None:
    assert one.pod
    outer, inner = one.pod["securityContext"], one.container["securityContext"]
    assert outer["runAsNonRoot"] is inner["runAsNonRoot"] is True
    assert outer["runAsUser"] > 0
    assert outer["runAsGroup"] > 0
    assert inner["readOnlyRootFilesystem"] is True
    assert inner["allowPrivilegeEscalation"] is inner["privileged"] is False
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert outer["seccompProfile"] == inner["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not one.pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "hostUsers"}
    assert all("hostPath" not in volume for volume in one.pod["volumes"])


@pytest.mark.parametrize("one", EVERY_POD)
def test_a_pod_has_no_token_of_the_cluster_and_limits_of_its_own(one: Manifest) -> None:
    assert one.pod
    assert one.pod["automountServiceAccountToken"] is False
    assert one.pod["enableServiceLinks"] is False, "variables of other services are no settings and would stop the start"
    resources = one.container["resources"]
    assert {"cpu", "memory"} <= resources["requests"].keys() & resources["limits"].keys()


@pytest.mark.parametrize("name", RENDERED)
def test_accounts_are_made_or_named_and_hold_no_token(name: str) -> None:
    accounts = {one.name: one.body for one in _of(name, "ServiceAccount")}
    assert all(one["automountServiceAccountToken"] is False for one in accounts.values())
    outside = SETS[name].get("serviceAccount", {}).get("name")
    for one in RENDERED[name]:
        if one.pod:
            assert one.pod["serviceAccountName"] in accounts.keys() | {outside}


@pytest.mark.parametrize("one", EVERY_POD)
def test_an_image_has_a_version_never_latest(one: Manifest) -> None:
    assert re.search(r"(:[0-9][^:@]*|@sha256:[0-9a-f]{64})$", one.container["image"])


@pytest.mark.parametrize("one", EVERY_POD)
def test_every_variable_is_a_setting_and_no_secret_stands_in_one(one: Manifest) -> None:
    names = set(one.environment)
    assert misnamed(names) == set()
    assert names & secret_settings() == set()
    assert all("valueFrom" not in variable for variable in one.container["env"])
    assert "envFrom" not in one.container


def test_every_name_in_the_templates_is_a_setting() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").iterdir())
    assert misnamed(variables_in(text)) == set()


@pytest.mark.parametrize("one", EVERY_POD)
def test_each_file_that_a_variable_names_is_mounted(one: Manifest) -> None:
    assert one.pod
    volumes = {volume["name"]: volume for volume in one.pod["volumes"]}
    files: set[str] = set()
    for mount in one.container["volumeMounts"]:
        volume = volumes[mount["name"]]
        if "projected" in volume:
            assert mount["readOnly"] is True
            files |= {
                f"{mount['mountPath']}/{item['path']}" for source in volume["projected"]["sources"] for item in source["secret"]["items"]
            }
        elif "subPath" in mount:
            assert mount["readOnly"] is True
            files.add(mount["mountPath"])
    named = {value for name, value in one.environment.items() if name.endswith("_FILE")}
    assert named
    assert named <= files
    assert {mount["name"] for mount in one.container["volumeMounts"]} == set(volumes), "what is mounted is there, what is there is mounted"


@pytest.mark.parametrize("one", EVERY_POD)
def test_secrets_are_named_by_the_values_and_only_read_as_files(one: Manifest) -> None:
    assert one.pod
    given = {leaf for values in SETS.values() for leaf in _leaves(values)}
    for volume in one.pod["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            assert source["secret"]["name"] in given
        if "secret" in volume:
            assert volume["secret"]["secretName"] in given


def _leaves(value: Any) -> list[str]:  # noqa: ANN401 - YAML
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in _leaves(one)]
    return [str(value)]


@pytest.mark.parametrize("name", RENDERED)
def test_the_chart_makes_no_secret(name: str) -> None:
    assert _of(name, "Secret") == []
    assert {one.kind for one in RENDERED[name]} & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} == set()


@pytest.mark.parametrize("name", RENDERED)
def test_each_secret_is_seen_by_one_duty(name: str) -> None:
    """The owner's login belongs to the migrations, the signer's login and key to the signer, the way to issuer and model to the gateway."""

    def seen(one: Manifest) -> set[tuple[str, str]]:
        assert one.pod
        sources = [source["secret"] for volume in one.pod["volumes"] for source in volume.get("projected", {}).get("sources", [])]
        keys = {(secret["name"], item["key"]) for secret in sources for item in secret["items"]}
        return keys | {(volume["secret"]["secretName"], volume["name"]) for volume in one.pod["volumes"] if "secret" in volume}

    pods = {one.name.rsplit("-", 1)[1]: seen(one) for one in RENDERED[name] if one.pod}
    owner = SETS[name]["database"]["ownerSecret"]
    assert {secret for secret, _ in pods["migrations"]} == {owner}
    for duty, keys in pods.items():
        assert duty == "migrations" or owner not in {secret for secret, _ in keys}
        assert duty == "signer" or keys & pods["signer"] == set()
    own = {(SETS[name].get(part, {}).get("existingSecret"), key) for part, key in (("oidc", "client-secret"), ("llm", "api-key"))}
    own = {one for one in own if one[0]}
    assert name == "bootstrap" or pods["gateway"] - pods["worker"] == own, "the worker takes strangers' files apart"
    assert name == "bootstrap" or pods["worker"] <= pods["gateway"]


# ---- each process ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RENDERED)
def test_each_process_is_a_command_that_exists(name: str) -> None:
    known = {one.name or (one.callback.__name__ if one.callback else "") for one in commands.registered_commands}
    known |= {one.name for one in commands.registered_groups}
    run = {one.name.rsplit("-", 1)[1]: one.container["args"] for one in RENDERED[name] if one.pod}
    closed = {"signer": ["signer"], "migrations": ["db", "upgrade"]}
    assert run == (closed if name == "bootstrap" else closed | {"gateway": ["serve"], "worker": ["worker"]})
    assert {args[0] for args in run.values()} <= known


@pytest.mark.parametrize("name", OPEN)
def test_the_gateway_is_alive_by_itself_and_ready_by_what_it_needs(name: str) -> None:
    """A database that is away takes pods out of service. Restarting them would help nobody and lose what they know."""
    gateway = _one(name, "Deployment", "-gateway")
    paths = {probe: gateway.container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert gateway.environment["PORTCULLIS_BACKGROUND"] == "false"
    assert gateway.environment["PORTCULLIS_HOST"] == "0.0.0.0"  # noqa: S104 - inside a pod
    assert gateway.environment["PORTCULLIS_VERIFIER_KEY"].startswith("portcullis/sample+")


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize(("kind", "suffix"), [("Deployment", "-worker"), ("StatefulSet", "-signer")])
def test_what_answers_no_requests_is_alive_while_its_sign_of_life_is_young(name: str, kind: str, suffix: str) -> None:
    one = _one(name, kind, suffix)
    check = " ".join(one.container["livenessProbe"]["exec"]["command"])
    assert f"{one.environment['PORTCULLIS_DATA']}/{FILE}" in check
    assert "readinessProbe" not in one.container


@pytest.mark.parametrize("name", OPEN)
def test_the_gateway_goes_on_answering_until_nobody_sends_to_it(name: str) -> None:
    gateway = _one(name, "Deployment", "-gateway")
    assert gateway.pod
    waits = int(gateway.container["lifecycle"]["preStop"]["exec"]["command"][1])
    server_waits = int(re.findall(r"timeout_graceful_shutdown=(\d+)", (ROOT / "app/cli/running.py").read_text(encoding="utf-8"))[0])
    assert gateway.pod["terminationGracePeriodSeconds"] > waits + server_waits
    assert gateway.body["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


@pytest.mark.parametrize("name", RENDERED)
def test_there_is_one_signer_with_a_memory_that_outlives_the_release(name: str) -> None:
    signer = _one(name, "StatefulSet", "-signer")
    assert signer.pod
    assert signer.body["spec"]["replicas"] == 1
    (claim,) = (one["persistentVolumeClaim"]["claimName"] for one in signer.pod["volumes"] if "persistentVolumeClaim" in one)
    made = {one.name: one.body for one in _of(name, "PersistentVolumeClaim")}
    given = SETS[name].get("signer", {}).get("persistence", {}).get("existingClaim")
    assert (claim in made) is (given is None)
    assert all(one["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for one in made.values())
    places = {one["name"]: one["mountPath"] for one in signer.container["volumeMounts"]}
    assert places["signer"] == "/data/signer"
    assert signer.environment["PORTCULLIS_DATA"] == "/data"
    assert "PORTCULLIS_OPENSEARCH_URL" not in signer.environment


def test_a_given_signing_key_lies_where_the_signer_looks_for_it() -> None:
    places = {one["name"]: one["mountPath"] for one in _one("full", "StatefulSet", "-signer").container["volumeMounts"]}
    assert places["signing-key"] == "/data/signer/signing.key"
    assert "signing.key" in (ROOT / "app/audit/signer.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RENDERED)
def test_the_schema_is_brought_up_before_anything_else_starts(name: str) -> None:
    job = _one(name, "Job", "-migrations")
    hooks = {(one.kind, one.name): one.body["metadata"].get("annotations", {}) for one in RENDERED[name]}
    assert job.body["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job.body["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    weight = int(job.body["metadata"]["annotations"]["helm.sh/hook-weight"])
    assert job.pod
    needed = [("ServiceAccount", job.pod["serviceAccountName"])]
    needed += [("NetworkPolicy", job.name)] if SETS[name].get("networkPolicy", {}).get("enabled", True) else []
    for one in needed:
        assert hooks[one]["helm.sh/hook"] == "pre-install,pre-upgrade", "at the first install nothing else is there yet"
        assert int(hooks[one]["helm.sh/hook-weight"]) < weight


def test_settings_arrive_as_the_gateway_reads_them() -> None:
    environment = _one("full", "Deployment", "-gateway").environment
    assert environment["PORTCULLIS_MAX_DOCUMENT_BYTES"] == "52428800", "no exponent"
    assert json.loads(environment["PORTCULLIS_OPENSEARCH_OWN_INDEX"]) == ["hr", "legal"]
    assert json.loads(environment["PORTCULLIS_OPENSEARCH_URL"]) == SETS["full"]["opensearch"]["urls"]
    assert environment["PORTCULLIS_LLM_IS_EXTERNAL"] == "true"
    assert _one("full", "StatefulSet", "-signer").environment["PORTCULLIS_CHECKPOINT_EVERY_S"] == "0.5"
    assert _one("token", "Deployment", "-gateway").environment["PORTCULLIS_LLM_IS_EXTERNAL"] == "false"


@pytest.mark.parametrize("name", OPEN)
def test_the_worker_is_told_what_the_gateway_is_but_for_issuer_secret_and_model(name: str) -> None:
    gateway, worker = _one(name, "Deployment", "-gateway").environment, _one(name, "Deployment", "-worker").environment
    assert worker.items() <= gateway.items()
    own = {"PORTCULLIS_HOST", "PORTCULLIS_PORT", "PORTCULLIS_OIDC_CLIENT_SECRET_FILE"}
    assert {one for one in gateway.keys() - worker.keys() if not one.startswith("PORTCULLIS_LLM_")} <= own


def test_notes_say_what_to_do_next() -> None:
    assert "signer --show-key" in chart.notes(SETS["bootstrap"])
    assert "https://ask.example.org" in chart.notes(SETS["minimal"])


def test_notes_show_what_is_missing_when_something_is() -> None:
    """`/readyz` says it with a 503, which most clients take for a failure and keep for themselves."""

    class NotReady(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b"not_ready: " + self.path.encode())

        def log_message(self, *_: object) -> None:
            """Nobody has to read it."""

    (code,) = re.findall(r'python -c "([^"]+)"', chart.notes(SETS["minimal"]))
    with HTTPServer(("127.0.0.1", 0), NotReady) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        here = code.replace("8080", str(server.server_port))
        done = subprocess.run([sys.executable, "-c", here], capture_output=True, text=True, check=False)
        answering.join()
    assert (done.returncode, done.stdout.strip()) == (0, "not_ready: /readyz")
