"""Presidio's own span measure, whole PII: precision, recall and F2 with a character IoU threshold.

Written after presidio-evaluator 0.3.2 (`SpanEvaluator`, character based, types taken as one): spans are runs of tokens, words
that do not matter at an edge ("street", "the", punctuation) are skipped, neighbours joined by such words only are one span, and
a label that several predictions touch is judged by their union.
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass

import spacy
from spacy.lang.en.stop_words import STOP_WORDS

BETA = 2.0
SKIPPED = (
    frozenset(string.punctuation)
    | frozenset(" \t\n")
    | frozenset(("", "\n\n", "\n\n\n", "\n\n\n\n", "\t\t", "\t\t\t", "\t\t\t\t", ">>", ">>>", ">>>>", ">>>>>", ">>>>>>", "'s"))
    | frozenset(
        [
            "street",
            "st.",
            "st",
            "de",
            "rue",
            "via",
            "and",
            "a",
            "the",
            "or",
            "do",
            "as",
            "of",
            "day",
            "address",
            "country",
            "state",
            "city",
            "zip",
            "po",
            "apt",
            "unit",
            "corner",
            "p.o.",
            "box",
            "suite",
            "mr.",
            "mrs.",
            "miss",
            "year",
            "years",
            "y/o",
            "month",
            "months",
            "old",
            "morning",
            "noon",
            "afternoon",
            "night",
            "evening",
            "this",
            "first",
            "last",
            "week",
            "weeks",
            "weekend",
            "days",
            "age",
            "ago",
            "inc",
            "inc.",
            "ltd",
        ]
    )
    | frozenset(STOP_WORDS)
)
"""The evaluator's skip words (its `skipwords.py`)."""
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class SpanScore:
    """Counts over all texts; `predicted` counts a prediction once per label it touches, as the evaluator does."""

    true_positives: int = 0
    predicted: int = 0
    annotated: int = 0

    def __add__(self, other: "SpanScore") -> "SpanScore":
        """Counts of both."""
        return SpanScore(self.true_positives + other.true_positives, self.predicted + other.predicted, self.annotated + other.annotated)

    @property
    def precision(self) -> float:
        """Share of predictions that meet the threshold, 0..1."""
        return self.true_positives / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of labels met, 0..1."""
        return self.true_positives / self.annotated if self.annotated else 0.0

    @property
    def f2(self) -> float:
        """Recall weighs four times as much as precision, 0..1."""
        weighted = BETA * BETA * self.precision + self.recall
        return (1 + BETA * BETA) * self.precision * self.recall / weighted if weighted else 0.0


class SpanScorer:
    """Scores texts one by one. The tokenizer is spaCy's for English without a model, which is what the evaluator's own uses."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._tokenizer = spacy.blank("en").tokenizer

    def score(self, text: str, labels: Sequence[Range], predictions: Sequence[Range]) -> SpanScore:
        """Counts for one text; ranges are code points, in any order."""
        tokens = [(token.idx, token.text) for token in self._tokenizer(text)]
        gold, found = _spans(tokens, labels), _spans(tokens, predictions)
        true_positives = predicted = 0
        touched: set[Range] = set()
        for label in gold:
            overlapping = [span for span in found if span[0] < label[1] and label[0] < span[1]]
            touched.update(overlapping)
            predicted += bool(overlapping)
            true_positives += bool(overlapping) and _iou(label, overlapping) >= self._threshold
        return SpanScore(true_positives, predicted + sum(span not in touched for span in found), len(gold))


def _spans(tokens: Sequence[tuple[int, str]], ranges: Sequence[Range]) -> list[Range]:
    """Runs of labelled tokens without skipped words at the edges, joined over skipped words."""
    ordered = sorted(ranges)
    runs: list[Range] = []
    is_open = False
    i = 0
    for start, word in tokens:
        end = start + len(word)
        while i < len(ordered) and ordered[i][1] <= start:
            i += 1
        is_labelled = i < len(ordered) and (ordered[i][0] <= start or (start <= ordered[i][0] and ordered[i][1] <= end))
        if word.lower().strip() in SKIPPED:
            continue
        if not is_labelled:
            is_open = False
            continue
        if is_open:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
        is_open = True
    return runs


def _iou(label: Range, parts: Sequence[Range]) -> float:
    """Intersection over union of one label with the union of disjoint `parts`."""
    inside = sum(min(label[1], end) - max(label[0], start) for start, end in parts)
    return inside / (label[1] - label[0] + sum(end - start for start, end in parts) - inside)
