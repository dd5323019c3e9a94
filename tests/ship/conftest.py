"""What the checks of image, compose file and chart share."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings
from tests.conftest import ROOT

PREFIX = "PORTCULLIS_"


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
def compose_folder() -> Path:
    """What the compose file mounts."""
    return ROOT / "examples" / "compose"
