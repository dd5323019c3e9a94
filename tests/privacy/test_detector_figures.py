"""Gates on labelled sets, and on what a process with a detector costs. A slice of each set runs; the figures are the product's promise."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.privacy.detector import Detector
from app.privacy.evaluation import evaluate, read_set
from app.privacy.span_scores import SpanScore, SpanScorer
from privacy.conftest import absent

START_AND_MEMORY = """
import sys
from pathlib import Path
from app.privacy.detector import Detector
detector = Detector(Path(sys.argv[1]))
text = "Anna Kowalski met Bartholomew Quigley in Leeds; call +44 20 7946 0018 or write to anna@corp.example about it. "
for i in range(200):
    detector.analyze(f"{i} " + text * 12)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_english_prose_and_forms_keep_the_published_quality(detector: Detector, sets_folder: Path) -> None:
    figures = evaluate(sets_folder / "pii-synth2.jsonl", detector, step=4)
    assert figures["f2_iou_70"] >= 0.87
    assert figures["leaked_direct"] <= 0.045
    assert figures["over_redacted"] <= 0.04


def test_enterprise_shapes_leak_almost_nothing_and_leave_technical_text_alone(detector: Detector, sets_folder: Path) -> None:
    figures = evaluate(sets_folder / "pii-hard.jsonl", detector)
    assert figures["leaked_direct"] <= 0.01
    assert figures["over_redacted"] <= 0.03
    assert figures["untouched"] >= 0.95


def test_figures_of_a_perfect_and_of_a_blind_detector(sets_folder: Path) -> None:
    """A measure that cannot tell these apart measures nothing."""
    path = sets_folder / "pii-hard.jsonl"
    labels = {labelled.text: labelled.spans for labelled in read_set(path)}

    class Oracle:
        def __init__(self, answers: dict) -> None:
            self.answers = answers

        def analyze(self, text: str, language: str | None = None) -> "Oracle":  # noqa: ARG002 - the detector's own signature
            self.spans = self.answers.get(text, ())
            return self

    perfect = evaluate(path, Oracle(labels))
    assert (perfect["f2_iou_70"], perfect["leaked_direct"], perfect["over_redacted"], perfect["untouched"]) == (1.0, 0.0, 0.0, 1.0)
    blind = evaluate(path, Oracle({}))
    assert (blind["f2_iou_70"], blind["leaked_direct"], blind["leaked_quasi"], blind["clean"]) == (0.0, 1.0, 1.0, 0.0)


def test_leak_and_over_redaction_agree_with_the_reviewers_tool(detector: Detector, sets_folder: Path) -> None:
    """Written apart from it, by the same definitions: a difference would mean that one of the two measures something else."""
    source = sets_folder.parent / "tools" / "pii_eval.py"
    if not source.is_file():
        absent("no evaluation tool beside the labelled sets")
    specification = importlib.util.spec_from_file_location("pii_eval", source)
    tool = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tool)
    path = sets_folder / "pii-synth2.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][::10]
    found = [[(s.start, s.end, tool.canonical(s.entity_type)) for s in detector.analyze(row["full_text"]).spans] for row in rows]
    _, characters, _, _ = tool.score(rows, found, 0.5)
    figures = evaluate(path, detector, step=10)
    for ours, part, whole in (
        ("leaked_direct", ("direct", "open"), ("direct", "n")),
        ("leaked_quasi", ("quasi", "open"), ("quasi", "n")),
        ("over_redacted", "over", "other"),
        ("untouched", "untouched", "empty"),
        ("clean", "clean", "docs"),
    ):
        assert figures[ours] == pytest.approx(characters[part] / characters[whole], abs=0.004), ours


def test_the_span_measure_joins_over_skipped_words_and_judges_parts_together() -> None:
    scorer = SpanScorer(0.7)
    text = "Anna Kowalski of the Bank lives here"
    assert scorer.score(text, [(0, 13), (21, 25)], [(0, 25)]) == SpanScore(1, 1, 1)
    assert scorer.score(text, [(0, 25)], [(0, 4), (5, 13), (21, 25)]) == SpanScore(1, 1, 1)
    assert scorer.score(text, [(0, 13)], [(0, 4)]) == SpanScore(0, 1, 1)
    assert scorer.score(text, [(0, 13)], [(26, 31)]) == SpanScore(0, 1, 1)
    assert SpanScore(8, 10, 16).f2 == pytest.approx(5 * 0.8 * 0.5 / (4 * 0.8 + 0.5))


def test_prose_runs_at_the_speed_one_core_must_have(detector: Detector, sets_folder: Path) -> None:
    prose = " ".join(labelled.text for labelled in read_set(sets_folder / "pii-synth2.jsonl"))[:60_000]
    chunks = [prose[i : i + 1_500] for i in range(0, len(prose), 1_500)]
    started = time.process_time()
    for chunk in chunks:
        detector.analyze(chunk)
    assert len(prose) / (time.process_time() - started) > 15_000


def test_a_process_with_a_detector_stays_under_its_memory(model_folder: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", START_AND_MEMORY, str(model_folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
    )
    assert int(answer.stdout) // 1024 <= 450


def test_a_missing_model_says_what_mends_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="make models"):
        Detector(tmp_path / "nowhere")


def test_a_damaged_model_says_what_mends_it(tmp_path: Path, model_folder: Path) -> None:
    for source in model_folder.rglob("*"):
        target = tmp_path / source.relative_to(model_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            target.symlink_to(source)
    (tmp_path / "ner" / "model").unlink()
    (tmp_path / "ner" / "model").write_bytes(b"not a model")
    with pytest.raises(ConfigurationError, match="make models"):
        Detector(tmp_path)
