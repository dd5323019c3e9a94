"""Measures a detector on labelled text: what a reader could still see, and what was hidden for nothing.

A set is JSON lines with `full_text`, `spans` (`start`, `end`, `entity_type`, maybe `optional`) and `language`. Figures:

* `f2_iou_70`, `f2_iou_50`: Presidio's span measure over all types taken as one (`span_scores.py`)
* `leaked_direct`, `leaked_quasi`: share of the letters and digits of labelled spans that no prediction of any type covers
* `over_redacted`: share of the other letters and digits under a prediction of a type the set labels
* `untouched`: share of the texts with nothing to hide in which nothing was found
* `clean`: share of the texts with something to hide from which nothing leaks
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from app.domain.privacy import Span
from app.privacy.entities import QUASI
from app.privacy.span_scores import SpanScore, SpanScorer

LABELLED_QUASI = QUASI | {"QUANTITY", "MISC", "EVENT"}
"""Labels of public sets that name nobody by themselves; every other label is direct."""
SAME = {
    "LOC": "LOCATION", "GPE": "LOCATION", "STREET_ADDRESS": "LOCATION", "ADDRESS": "LOCATION",
    "ZIP_CODE": "LOCATION", "CITY": "LOCATION", "STREET": "LOCATION", "PER": "PERSON",
    "NAME": "PERSON", "ORG": "ORGANIZATION", "COMPANY": "ORGANIZATION", "DATE": "DATE_TIME",
    "TIME": "DATE_TIME", "DATE_OF_BIRTH": "DATE_TIME", "NORP": "NRP", "DEM": "NRP",
    "DOMAIN_NAME": "URL", "US_SSN": "ID_NUMBER", "US_DRIVER_LICENSE": "ID_NUMBER", "CODE": "ID_NUMBER",
    "DRIVER_ID": "ID_NUMBER", "SSN": "ID_NUMBER", "PASSPORT": "ID_NUMBER", "NATIONAL_ID": "ID_NUMBER",
    "EMAIL": "EMAIL_ADDRESS", "PHONE": "PHONE_NUMBER", "IBAN": "IBAN_CODE", "IP": "IP_ADDRESS",
}  # fmt: skip
Figures = dict[str, float | int]


class Analyzer(Protocol):
    """What is measured."""

    def analyze(self, text: str, language: str | None = None) -> "Found":
        """Spans of `text`."""


class Found(Protocol):
    """An analysis, as far as it is measured."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """Sorted, disjoint."""


@dataclass(frozen=True, slots=True)
class LabelledText:
    """One line of a set. `spans` are the labels that count, `optional` those that are neither hit nor miss."""

    text: str
    language: str
    spans: tuple[Span, ...]
    optional: tuple[Span, ...]


@dataclass(slots=True)
class _Tally:
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number

    def share(self, part: str, whole: str) -> float:
        total = self.counts.get(whole, 0)
        return self.counts.get(part, 0) / total if total else 0.0


def read_set(path: Path) -> Iterator[LabelledText]:
    """The texts of a JSON lines file, in order."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                row = json.loads(line)
                spans = [(Span(s["start"], s["end"], s["entity_type"], 1.0), bool(s.get("optional"))) for s in row["spans"]]
                yield LabelledText(
                    row["full_text"],
                    row.get("language", "en"),
                    tuple(span for span, optional in spans if not optional),
                    tuple(span for span, optional in spans if optional),
                )


def canonical(entity_type: str) -> str:
    """One name for what sets and detectors call differently."""
    return SAME.get(entity_type.upper(), entity_type.upper())


def evaluate(path: Path, detector: Analyzer, *, limit: int | None = None, step: int = 1) -> Figures:
    """Figures for the set at `path`, over every `step`-th text and at most `limit` of them; shares are 0..1."""
    texts = list(read_set(path))[::step][:limit]
    known = frozenset(canonical(span.entity_type) for labelled in texts for span in labelled.spans)
    scorers = {"f2_iou_70": SpanScorer(0.7), "f2_iou_50": SpanScorer(0.5)}
    scores = dict.fromkeys(scorers, SpanScore())
    tally = _Tally()
    seconds = 0.0
    for labelled in texts:
        started = time.process_time()
        found = detector.analyze(labelled.text, labelled.language).spans
        seconds += time.process_time() - started
        _count(labelled, found, known, tally)
        ranges = [(span.start, span.end) for span in found]
        for name, scorer in scorers.items():
            scores[name] += scorer.score(labelled.text, [(span.start, span.end) for span in (*labelled.spans, *labelled.optional)], ranges)
    figures: Figures = {name: round(score.f2, 4) for name, score in scores.items()}
    figures |= {
        "precision_iou_70": round(scores["f2_iou_70"].precision, 4),
        "recall_iou_70": round(scores["f2_iou_70"].recall, 4),
        "leaked_direct": round(tally.share("direct open", "direct"), 5),
        "leaked_quasi": round(tally.share("quasi open", "quasi"), 5),
        "over_redacted": round(tally.share("over", "other"), 5),
        "untouched": round(tally.share("untouched", "empty"), 4),
        "clean": round(tally.share("clean", "full"), 4),
        "texts": len(texts),
        "characters": tally.counts.get("characters", 0),
        "characters_per_cpu_s": round(tally.counts.get("characters", 0) / seconds) if seconds else 0,
    }
    return figures


def _mask(length: int, spans: Sequence[Span]) -> bytearray:
    mask = bytearray(length)
    for span in spans:
        mask[span.start : span.end] = b"\1" * (min(span.end, length) - span.start)
    return mask


def _count(labelled: LabelledText, found: Sequence[Span], known: frozenset[str], tally: _Tally) -> None:
    """Add one text to the tally."""
    text = labelled.text
    tally.add("characters", len(text))
    covered = _mask(len(text), found)
    counted = _mask(len(text), [span for span in found if canonical(span.entity_type) in known])
    leaked = 0
    seen: set[tuple[str, int]] = set()
    for span in labelled.spans:
        kind = canonical(span.entity_type)
        tier = "quasi" if kind in LABELLED_QUASI else "direct"
        letters = [i for i in range(span.start, min(span.end, len(text))) if text[i].isalnum() and (kind, i) not in seen]
        seen.update((kind, i) for i in letters)
        bare = sum(not covered[i] for i in letters)
        tally.add(tier, len(letters))
        tally.add(f"{tier} open", bare)
        leaked += bare
    if labelled.spans:
        tally.add("full")
        tally.add("clean", int(leaked == 0))
    elif not labelled.optional:
        tally.add("empty")
        tally.add("untouched", int(not found))
    innocent = _mask(len(text), (*labelled.spans, *labelled.optional))
    for i, character in enumerate(text):
        if character.isalnum() and not innocent[i]:
            tally.add("other")
            tally.add("over", counted[i])
