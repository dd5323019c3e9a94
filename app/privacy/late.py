"""A detector that is loaded with the first text: most commands show it none, and it is three seconds of their start."""

import threading
from pathlib import Path

from app.domain.ports import Analyzer
from app.domain.privacy import Analysis


class LateDetector:
    """Stands for the detector of a folder until it is needed. Safe to call from several threads."""

    def __init__(self, model_folder: Path) -> None:
        """Load nothing yet."""
        self._model_folder = model_folder
        self._lock = threading.Lock()
        self._loaded: Analyzer | None = None

    def analyze(self, text: str, language: str | None = None) -> Analysis:
        """As the detector does. Raises ConfigurationError, with the first text, when its folder is missing or damaged."""
        with self._lock:
            if self._loaded is None:
                from app.privacy.detector import Detector  # noqa: PLC0415 - its libraries are two of the three seconds

                self._loaded = Detector(self._model_folder)
        return self._loaded.analyze(text, language)
