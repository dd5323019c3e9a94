"""Where log lines go."""

import io
import sys

import pytest

from app.observability import configure_logging, logger


def test_a_line_goes_to_standard_error_as_it_is_when_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was at the start may be closed since; a log line must never be what fails a request."""
    before, now = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", before)
    configure_logging("INFO")
    log = logger("test")
    log.info("said_before")
    assert "said_before" in before.getvalue()
    before.close()
    monkeypatch.setattr(sys, "stderr", now)
    log.info("said_now")
    assert "said_now" in now.getvalue()
