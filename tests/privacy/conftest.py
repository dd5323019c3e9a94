"""One detector for the whole session: the model takes seconds to load and keeps no state between calls."""

import os
from pathlib import Path

import pytest

from app.privacy.detector import Detector
from app.privacy.ner import MODEL_FILES

ROOT = Path(__file__).parents[2]
MODEL = Path(os.environ.get("PORTCULLIS_MODELS", ROOT / "models")) / "ner-en"


def absent(reason: str) -> None:
    """Skip here, fail in CI: a measurement nobody ran must not look like one that passed."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """Where the entity model lies."""
    if not all((MODEL / name).is_file() for name in MODEL_FILES):
        absent("the entity model is not there: run `make models`")
    return MODEL


@pytest.fixture(scope="session")
def detector(model_folder: Path) -> Detector:
    """The real detector with the real model."""
    return Detector(model_folder)


@pytest.fixture(scope="session")
def sets_folder() -> Path:
    """Labelled sets, which are input and not part of the project."""
    folder = Path(os.environ.get("PORTCULLIS_SHARED", ROOT.parent / "shared")) / "sets"
    if not folder.is_dir():
        absent("no labelled sets: set PORTCULLIS_SHARED")
    return folder
