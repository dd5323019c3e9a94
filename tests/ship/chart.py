"""Renders the chart: through Helm's library, and through the real command where it is installed."""

import copy
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python
import yaml

from tests.conftest import ROOT

CHART = ROOT / "helm"
VALUES = Path(__file__).parent / "values"
KUBERNETES = ("1.29", "1.31", "1.33", "1.35", "1.37")
RELEASE, NAMESPACE = "ask", "knowledge"
_WHOLE = {"minimal", "full", "bootstrap"}
"""Sets that stand alone; the others are laid over the minimal one."""


def value_sets() -> dict[str, dict[str, Any]]:
    """Every set of values by its name, whole."""
    read = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(VALUES.glob("*.yaml"))}
    return {name: one if name in _WHOLE else merged(read["minimal"], one) for name, one in read.items()}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid over it: objects are merged, everything else is replaced."""
    result = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


@dataclass(frozen=True)
class Manifest:
    """One rendered object."""

    body: dict[str, Any]

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.body["metadata"]["name"])

    @property
    def pod(self) -> dict[str, Any] | None:
        """The specification of its pods, for what has some."""
        if self.kind not in {"Deployment", "StatefulSet", "Job"}:
            return None
        spec: dict[str, Any] = self.body["spec"]["template"]["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its pods."""
        labels: dict[str, str] = self.body["spec"]["template"]["metadata"]["labels"]
        return labels

    @property
    def container(self) -> dict[str, Any]:
        """The only container of its pods."""
        assert self.pod is not None
        (one,) = self.pod["containers"]
        assert "initContainers" not in self.pod
        container: dict[str, Any] = one
        return container

    @property
    def environment(self) -> dict[str, str]:
        """The variables of that container; every one of them has a plain value."""
        return {one["name"]: one["value"] for one in self.container["env"]}


def render(values: dict[str, Any]) -> list[Manifest]:
    """Every object of a release. Raises what Helm raises when the values are refused."""
    with helm_python.Chart.load(str(CHART)) as chart:
        files = chart.render(values, name=RELEASE, namespace=NAMESPACE)
    return parsed("\n---\n".join(text for path, text in files.items() if path.endswith(".yaml")))


def notes(values: dict[str, Any]) -> str:
    """What is said after an installation."""
    with helm_python.Chart.load(str(CHART)) as chart:
        return next(text for path, text in chart.render(values, name=RELEASE, namespace=NAMESPACE).items() if path.endswith("NOTES.txt"))


def parsed(text: str) -> list[Manifest]:
    """The objects in a rendered text."""
    return [Manifest(one) for one in yaml.safe_load_all(text) if one]


def helm() -> str | None:
    """The real command, where it is installed."""
    return shutil.which("helm")


def run_helm(command: str, values: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`helm lint` or `helm template` with a file of values."""
    where = [RELEASE, str(CHART), "--namespace", NAMESPACE] if command == "template" else [str(CHART)]
    words = [helm() or "helm", command, *where, "--kube-version", f"{KUBERNETES[2]}.0", "--values", str(values), *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False)
