"""What the chart puts around the processes: who may talk to whom, what stays up, where the policy comes from, what values are refused."""

import csv
import io
import json
from typing import Any

import helm_python
import pytest
import yaml

from app.settings import Settings
from tests.conftest import ROOT
from tests.ship.chart import CHART, Manifest, merged, render, value_sets
from tests.ship.conftest import PREFIX, secret_settings

SETS = value_sets()
RENDERED = {name: render(values) for name, values in SETS.items()}
CLOSED_IN = sorted(set(RENDERED) - {"without-network-policy"})
OPEN = sorted(set(RENDERED) - {"bootstrap"})


def _of(name: str, kind: str) -> dict[str, Manifest]:
    return {one.name.rsplit("-", 1)[1] if "-" in one.name else one.name: one for one in RENDERED[name] if one.kind == kind}


def _pods(name: str) -> dict[str, Manifest]:
    return {one.name.rsplit("-", 1)[1]: one for one in RENDERED[name] if one.pod}


def _selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


# ---- who may talk to whom ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLOSED_IN)
def test_every_pod_is_closed_in_both_directions_before_a_rule_opens_anything(name: str) -> None:
    deny = _of(name, "NetworkPolicy")["deny"].body["spec"]
    assert sorted(deny["policyTypes"]) == ["Egress", "Ingress"]
    assert not deny.keys() & {"ingress", "egress"}
    for one in _pods(name).values():
        assert _selects(deny["podSelector"]["matchLabels"], one.labels)


@pytest.mark.parametrize("name", CLOSED_IN)
def test_each_process_reaches_what_it_needs_and_nothing_else(name: str) -> None:
    rules = {duty: one.body["spec"] for duty, one in _of(name, "NetworkPolicy").items() if duty != "deny"}
    assert set(rules) == set(_pods(name))
    values = SETS[name]["networkPolicy"]
    needs = {
        "gateway": ["database", "opensearch", "issuer"] + (["llm"] if SETS[name].get("llm", {}).get("baseUrl") else []),
        "worker": ["database", "opensearch"],
        "signer": ["database"],
        "migrations": ["database"],
    }
    for duty, spec in rules.items():
        assert _selects(spec["podSelector"]["matchLabels"], _pods(name)[duty].labels)
        dns, *others = spec["egress"]
        assert {(one["protocol"], one["port"]) for one in dns["ports"]} == {("UDP", 53), ("TCP", 53)}
        assert dns["to"]
        assert [one["to"] for one in others] == [values[place]["to"] for place in needs[duty]], duty
        assert all(one["to"] and one["ports"] for one in others), "an empty list of peers is everybody"


@pytest.mark.parametrize("name", CLOSED_IN)
def test_only_the_gateway_is_reached_and_only_by_who_is_named(name: str) -> None:
    for duty, one in _of(name, "NetworkPolicy").items():
        if duty != "gateway":
            assert "ingress" not in one.body["spec"], duty
            continue
        (rule,) = one.body["spec"]["ingress"]
        values = SETS[name]["networkPolicy"]
        assert rule["from"] == values["ingressFrom"] + values.get("metricsFrom", [])
        assert rule["from"]
        assert [port["port"] for port in rule["ports"]] == ["http"]


# ---- what stays up --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RENDERED)
def test_each_selector_finds_its_own_pods_and_no_others(name: str) -> None:
    pods = _pods(name)
    for one in RENDERED[name]:
        if one.kind in {"Deployment", "StatefulSet"}:
            selector = one.body["spec"]["selector"]["matchLabels"]
        elif one.kind == "Service" and one.name.endswith("-shut"):
            assert "selector" not in one.body["spec"]
            continue
        elif one.kind == "Service":
            selector = one.body["spec"]["selector"]
        elif one.kind == "PodDisruptionBudget":
            selector = one.body["spec"]["selector"]["matchLabels"]
        else:
            continue
        found = [duty for duty, pod in pods.items() if _selects(selector, pod.labels)]
        assert len(found) == 1, f"{one.kind} {one.name} finds {found}"
        assert one.body["metadata"]["labels"]["app.kubernetes.io/component"] == found[0]


@pytest.mark.parametrize("name", OPEN)
def test_a_node_can_be_emptied_and_something_goes_on_answering(name: str) -> None:
    """`maxUnavailable` of at least one, or an upgrade of the cluster would hang; less than all where there is more than one."""
    budgets = _of(name, "PodDisruptionBudget")
    wanted = {duty for duty in ("gateway", "worker") if SETS[name].get(duty, {}).get("podDisruptionBudget", {}).get("enabled", True)}
    assert set(budgets) == wanted
    for duty, one in budgets.items():
        most = one.body["spec"]["maxUnavailable"]
        least = _of(name, "HorizontalPodAutoscaler")[duty].body["spec"]["minReplicas"] if _scales(name, duty) else _replicas(name, duty)
        away = most if isinstance(most, int) else -(-least * int(most.rstrip("%")) // 100)
        assert away >= 1
        assert away < least or least == 1
        assert "minAvailable" not in one.body["spec"]


def _scales(name: str, duty: str) -> bool:
    return duty in _of(name, "HorizontalPodAutoscaler")


def _replicas(name: str, duty: str) -> int:
    return int(_of(name, "Deployment")[duty].body["spec"]["replicas"])


def test_who_scales_by_load_has_no_number_of_replicas_to_fall_back_to() -> None:
    deployment, scaler = _of("high-availability", "Deployment")["gateway"], _of("high-availability", "HorizontalPodAutoscaler")["gateway"]
    assert "replicas" not in deployment.body["spec"], "each upgrade would set it back"
    assert scaler.body["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.name}
    assert scaler.body["spec"]["minReplicas"] <= scaler.body["spec"]["maxReplicas"]


@pytest.mark.parametrize("name", OPEN)
def test_pods_of_one_duty_are_spread_and_counted_among_themselves(name: str) -> None:
    for duty in ("gateway", "worker"):
        one = _of(name, "Deployment")[duty]
        assert one.pod
        constraints = one.pod["topologySpreadConstraints"]
        assert constraints
        for constraint in constraints:
            assert constraint["labelSelector"]["matchLabels"] == one.body["spec"]["selector"]["matchLabels"]


def test_the_door_from_outside_is_shut_unless_asked_for_and_then_encrypted() -> None:
    assert _of("minimal", "Ingress") == {}
    (ingress,) = _of("full", "Ingress").values()
    shut, service = sorted(
        (one for one in RENDERED["full"] if one.kind == "Service" and one.body["spec"].get("type") == "ClusterIP"),
        key=lambda one: "selector" in one.body["spec"],
    )
    for rule in ingress.body["spec"]["rules"]:
        ways = {one["path"]: (one["pathType"], one["backend"]["service"]) for one in rule["http"]["paths"]}
        assert ways == {
            "/": ("Prefix", {"name": service.name, "port": {"name": "http"}}),
            "/metrics": ("Prefix", {"name": shut.name, "port": {"name": "http"}}),
        }
    assert ingress.body["spec"]["tls"] == SETS["full"]["ingress"]["tls"]
    assert [port["targetPort"] for port in service.body["spec"]["ports"]] == ["http"]


def test_an_ingress_that_cannot_have_a_service_without_pods_does_without() -> None:
    made = render(merged(SETS["full"], {"ingress": {"closeMetrics": False}}))
    assert [one.name for one in made if one.name.endswith("-shut")] == []
    (ingress,) = (one for one in made if one.kind == "Ingress")
    assert [one["path"] for one in ingress.body["spec"]["rules"][0]["http"]["paths"]] == ["/"]


def test_metrics_are_scraped_only_where_somebody_asked() -> None:
    assert _of("minimal", "ServiceMonitor") == {}
    (monitor,) = _of("full", "ServiceMonitor").values()
    services = [one for one in RENDERED["full"] if one.kind == "Service"]
    wanted = monitor.body["spec"]["selector"]["matchLabels"]
    assert len([one for one in services if _selects(wanted, one.body["metadata"]["labels"])]) == 1


# ---- the policy ------------------------------------------------------------------------------------------------------------


def test_policy_files_are_mounted_one_by_one_under_their_own_paths() -> None:
    """A ConfigMap mounted as a folder holds each file twice, once under a hidden name, and hides subfolders behind links."""
    for name, keys in (("full", set()), ("token", {"rules", "model", "labels", "redaction", "cases-hr"})):
        for duty in ("gateway", "worker"):
            one = _pods(name)[duty]
            assert one.environment["PORTCULLIS_POLICIES"] == "/policies"
            mounts = {mount["mountPath"]: mount["subPath"] for mount in one.container["volumeMounts"] if mount["name"] == "policies"}
            assert {"/policies/rules.csv", "/policies/model.conf", "/policies/labels.yaml", "/policies/redaction.yaml"} <= set(mounts)
            assert any(path.startswith("/policies/cases/") for path in mounts)
            assert not keys or set(mounts.values()) == keys
    assert "PORTCULLIS_POLICIES" not in _pods("minimal")["gateway"].environment
    assert "PORTCULLIS_POLICIES" not in _pods("full")["signer"].environment


def test_the_policy_of_the_repository_goes_through_the_chart_unchanged() -> None:
    folder = ROOT / "policies"
    files = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*")) if path.is_file()}
    made = render(merged(SETS["minimal"], {"policies": {"files": files}}))
    (config,) = (one for one in made if one.kind == "ConfigMap")
    (gateway,) = (one for one in made if one.kind == "Deployment" and one.name.endswith("-gateway"))
    mounts = {
        one["mountPath"].removeprefix("/policies/"): one["subPath"]
        for one in gateway.container["volumeMounts"]
        if one["name"] == "policies"
    }
    arrived = {path: config.body["data"][key] for path, key in mounts.items()}
    assert {path: text.rstrip("\n") for path, text in arrived.items()} == {path: text.rstrip("\n") for path, text in files.items()}
    assert len(list(csv.reader(io.StringIO(arrived["rules.csv"])))) == len(list(csv.reader(io.StringIO(files["rules.csv"]))))
    assert yaml.safe_load(arrived["labels.yaml"]) == yaml.safe_load(files["labels.yaml"])


def test_a_changed_rule_rolls_the_pods() -> None:
    def mark(values: dict[str, Any]) -> str:
        (one,) = (one for one in render(values) if one.kind == "Deployment" and one.name.endswith("-gateway"))
        return str(one.body["spec"]["template"]["metadata"]["annotations"]["portcullis/policies"])

    changed = merged(SETS["full"], {"policies": {"files": {"labels.yaml": "labels: {public: 0, internal: 1}\n"}}})
    assert mark(SETS["full"]) == mark(SETS["full"])
    assert mark(SETS["full"]) != mark(changed)


# ---- values that are refused ------------------------------------------------------------------------------------------------


REQUIRED = [
    ("image", "repository"), ("tenant",), ("publicUrl",), ("database", "existingSecret"), ("database", "ownerSecret"),
    ("opensearch", "urls"), ("opensearch", "existingSecret"), ("opensearch", "user"), ("oidc", "issuer"), ("digestKey", "existingSecret"),
    ("signer", "verifierKey"), ("networkPolicy", "ingressFrom"), ("networkPolicy", "database", "to"), ("networkPolicy", "opensearch", "to"),
    ("networkPolicy", "issuer", "to"),
]  # fmt: skip


@pytest.mark.parametrize("path", REQUIRED, ids=".".join)
def test_what_is_missing_is_named_with_what_to_do(path: tuple[str, ...]) -> None:
    values = merged({}, SETS["minimal"])
    place = values
    for part in path[:-1]:
        place = place[part]
    del place[path[-1]]
    with pytest.raises(helm_python.HelmError, match=rf"- {'.'.join(path)}: "):
        render(values)


def ingress(*tls: dict[str, Any]) -> dict[str, Any]:
    return {
        "ingress": {"enabled": True, "hosts": [{"host": "a.example.org", "paths": [{"path": "/", "pathType": "Prefix"}]}], "tls": list(tls)}
    }


def model(address: str, **more: bool) -> dict[str, Any]:
    return {
        "llm": {"baseUrl": address, "model": "chat", **more},
        "networkPolicy": {"llm": {"to": [{"ipBlock": {"cidr": "192.0.2.20/32"}}]}},
    }


@pytest.mark.parametrize(
    "over",
    [
        ingress({"secretName": "a", "hosts": ["b.example.org"]}, {"secretName": "b", "hosts": ["a.example.org"]}),
        ingress({"secretName": "a", "hosts": ["*.example.org"]}),
        model("http://models.inference.svc:8000/v1"),
        model("http://models.inference.svc.cluster.local"),
        model("http://127.0.0.1:11434/v1"),
    ],
    ids=json.dumps,
)
def test_hosts_with_a_certificate_and_models_inside_the_cluster_are_taken(over: dict[str, Any]) -> None:
    assert render(merged(SETS["minimal"], over))


def test_a_model_in_clear_is_taken_where_the_values_say_so() -> None:
    made = render(merged(SETS["minimal"], model("http://models.example.org/v1", allowsHttp=True)))
    told = [one.name for one in made if one.pod and one.environment.get("PORTCULLIS_LLM_ALLOWS_HTTP") == "true"]
    assert told == ["ask-portcullis-gateway"]


@pytest.mark.parametrize(
    ("over", "named"),
    [
        ({"llm": {"baseUrl": "https://models.example.org/v1"}}, "llm.model"),
        ({"llm": {"baseUrl": "https://models.example.org/v1", "model": "chat"}}, "networkPolicy.llm.to"),
        (
            {"ingress": {"enabled": True, "hosts": [{"host": "a.example.org", "paths": [{"path": "/", "pathType": "Prefix"}]}]}},
            "ingress.tls",
        ),
        ({"ingress": {"enabled": True, "tls": [{"secretName": "a", "hosts": []}]}}, "ingress.hosts"),
        ({"policies": {"existingConfigMap": "rules"}}, "policies.items"),
        ({"policies": {"existingConfigMap": "rules", "items": [{"key": "a", "path": "rules.csv"}], "files": {"rules.csv": ""}}}, "exclude"),
        ({"serviceMonitor": {"enabled": True}}, "networkPolicy.metricsFrom"),
        ({"ingress": {"hosts": [{"host": "a.example.org", "paths": [{"path": "/metrics", "pathType": "Exact"}]}]}}, "needs no token"),
        ({"tenant": "other"}, "signer.verifierKey is not the key of portcullis/other"),
        ({"gateway": {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}}}, "minReplicas"),
        ({"gateway": {"preStopSeconds": 60}}, "terminationGracePeriodSeconds"),
        (ingress({"secretName": "a", "hosts": ["b.example.org"]}), "ingress.tls covers no a.example.org"),
        (ingress({"secretName": "", "hosts": ["a.example.org"]}), "ingress.tls covers no a.example.org"),
        (ingress({"secretName": "a", "hosts": []}), "ingress.tls covers no a.example.org"),
        (ingress({"secretName": "a", "hosts": ["*.org"]}), "ingress.tls covers no a.example.org"),
        ({"gateway": {"podLabels": {"app.kubernetes.io/component": "signer"}}}, "gateway.podLabels sets app.kubernetes.io/component"),
        ({"signer": {"podLabels": {"app.kubernetes.io/instance": "x"}}}, "signer.podLabels sets app.kubernetes.io/instance"),
        (model("http://models.example.org/v1"), "travel in clear"),
        (model("http://models.inference.svc@example.org/v1"), "travel in clear"),
        (model("http://models.svc.example.org/v1"), "travel in clear"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_that_do_not_fit_together_are_refused(over: dict[str, Any], named: str) -> None:
    with pytest.raises(helm_python.HelmError, match=named):
        render(merged(SETS["minimal"], over))


@pytest.mark.parametrize(
    "over",
    [
        {"image": {"tag": "latest"}},
        {"image": {"digest": "sha256:abc"}},
        {"publicUrl": "http://ask.example.org"},
        {"oidc": {"issuer": "http://id.example.org"}},
        {"oidc": {"clientSecret": "a-secret"}},
        {"opensearch": {"urls": ["http://opensearch:9200"]}},
        {"opensearch": {"password": "a-secret"}},
        {"opensearch": {"authentication": "none"}},
        {"database": {"url": "postgresql://a:b@c/d"}},
        {"settings": {"demo": True}},
        {"settings": {"llm_api_key": "a-secret"}},
        {"settings": {"no_such_setting": 1}},
        {"gateway": {"replicas": 0}},
        {"gateway": {"replicas": "two"}},
        {"gateway": {"resources": {"limits": None}}},
        {"gateway": {"podDisruptionBudget": {"maxUnavailable": 0}}},
        {"gateway": {"podDisruptionBudget": {"maxUnavailable": "100%"}}},
        {"podSecurity": {"runAsUser": 0}},
        {"podSecurity": {"privileged": True}},
        {"signer": {"replicas": 2}},
        {"signer": {"verifierKey": "not a key"}},
        {"policies": {"files": {"../rules.csv": ""}}},
        {"policies": {"files": {"notes.txt": ""}}},
        {"networkPolicy": {"ingressFrom": [{}]}},
        {"networkPolicy": {"database": {"ports": []}}},
        {"service": {"type": "NodePort"}},
        {"serviceAccount": {"automount": True}},
        {"unknown": 1},
    ],
    ids=json.dumps,
)
def test_values_that_would_open_something_or_mean_nothing_are_refused(over: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmError):
        render(merged(SETS["minimal"], over))


def test_free_settings_are_real_and_neither_secret_nor_the_charts_own() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    free = set(schema["properties"]["settings"]["propertyNames"]["enum"])
    assert free <= set(Settings.model_fields)
    assert {PREFIX + name.upper() for name in free} & secret_settings() == set()
    own = {variable for made in RENDERED.values() for one in made if one.pod for variable in one.environment}
    given = {PREFIX + name.upper() for values in SETS.values() for name in values.get("settings", {})}
    assert {PREFIX + name.upper() for name in free} & (own - given) == set()
    assert "demo" not in free
    assert "worker_nice" in free


def test_every_value_is_explained_where_it_stands_and_known_to_the_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    def unknown(given: dict[str, Any], known: dict[str, Any], place: str) -> list[str]:
        found = []
        for key, value in given.items():
            if key not in known.get("properties", {}):
                found.append(f"{place}{key}")
            elif isinstance(value, dict) and "properties" in known["properties"][key]:
                found += unknown(value, known["properties"][key], f"{place}{key}.")
        return found

    assert unknown(values, schema, "") == []
    told = (CHART / "README.md").read_text(encoding="utf-8")
    assert [key for key in values if f"`{key}" not in told] == []
