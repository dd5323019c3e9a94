"""Reads the files of `policies/` into typed rules and refuses what it does not understand, with file and line.

Nothing here is evaluated as code: rows are typed values and the matcher must be the one form that the compiler knows.
"""

import configparser
import csv
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from app.domain.access import ANY, UNKNOWN_RANK, Action
from app.domain.identity import Principal, TenantId
from app.domain.labels import RANKS
from app.errors import PolicyInvalidError

MODEL, RULES, LABELS, GROUPS, REDACTION = "model.conf", "rules.csv", "labels.yaml", "groups.yaml", "redaction.yaml"
CASES = "cases/"
COLUMNS = ("subject", "tenant", "collection", "label", "action", "purpose", "effect", "why")
MAX_RULES = 2_000
MAX_FILE_BYTES = 1_000_000
_REQUIRED_MODEL = {
    ("request_definition", "r"): "sub, dom, obj, act",
    ("policy_definition", "p"): "sub, dom, col, lbl, act, purp, eft",
    ("policy_effect", "e"): "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    ("matchers", "m"): (
        'r.act == p.act && r.dom == p.dom && has(r.sub, p.sub) && (p.purp == "*" || r.sub.purp == p.purp) && '
        '(p.col == "*" || r.obj.col == p.col) && (p.lbl == "*" || lab(r.obj, p.lbl)) && gate(r.sub, r.dom, r.obj)'
    ),
}
_PRINCIPAL = re.compile(r"(?:user|group|role):[^\s,\x00-\x1f]{1,500}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


class Effect(StrEnum):
    """What a rule does when it matches. Deny beats allow."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of `rules.csv`. `line` is where it stands."""

    subject: Principal
    tenant: TenantId
    collection: str
    label: str
    action: Action
    purpose: str
    effect: Effect
    why: str
    line: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """A whole, valid policy. `files` are the texts it was read from; `digest` names them for ever."""

    digest: str
    files: dict[str, str]
    rules: tuple[Rule, ...]
    labels: dict[str, int]
    parents: dict[Principal, frozenset[Principal]]

    def rank(self, label: str) -> int | None:
        """Rank of a label, or `None` when the policy does not know it."""
        return self.labels.get(label)

    def sensitivity(self, label: str) -> int:
        """Rank of what bears a label: above every clearance when the policy does not know it."""
        return self.labels.get(label, UNKNOWN_RANK)


def read_folder(folder: Path) -> dict[str, str]:
    """The policy files below `folder` by POSIX path. Raises PolicyInvalidError when they cannot be read."""
    try:
        paths = [path for path in sorted(_below(folder)) if path.is_file() and path.suffix in {".conf", ".csv", ".yaml"}]
        large = [path.relative_to(folder).as_posix() for path in paths if path.stat().st_size > MAX_FILE_BYTES]
        files = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths if not large}
    except (OSError, UnicodeDecodeError) as error:
        message = f"The policy folder {folder} cannot be read: {error}"
        raise PolicyInvalidError(message) from error
    if large:
        message = f"{large[0]}: larger than {MAX_FILE_BYTES} bytes"
        raise PolicyInvalidError(message)
    return files


def _below(folder: Path) -> Iterator[Path]:
    """Files below `folder`. Links are followed and what begins with a dot is left out: a mounted ConfigMap holds its files behind both."""
    for place, folders, names in os.walk(folder, onerror=_raised, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place) / name for name in names if not name.startswith("."))


def _raised(error: OSError) -> None:
    raise error


def digest_of(files: dict[str, str]) -> str:
    """`sha256:` over names and contents."""
    state = sha256()
    for name in sorted(files):
        for part in (name.encode(), files[name].encode()):
            state.update(len(part).to_bytes(8, "big") + part)
    return f"sha256:{state.hexdigest()}"


def parse_bundle(files: dict[str, str]) -> Bundle:
    """A validated bundle. Raises PolicyInvalidError naming file, line and what is wrong."""
    for name in (MODEL, RULES, LABELS, REDACTION):
        if name not in files:
            message = f"{name}: missing from the policy"
            raise PolicyInvalidError(message)
    _check_model(files[MODEL])
    labels = _labels(files[LABELS])
    return Bundle(digest_of(files), dict(files), _rules(files[RULES], labels), labels, _groups(files.get(GROUPS, "{}")))


def _check_model(text: str) -> None:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",), inline_comment_prefixes=None)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        message = f"{MODEL}: {error}".replace("\n", " ")
        raise PolicyInvalidError(message) from error
    found = {(section, key): " ".join(value.split()) for section in parser.sections() for key, value in parser[section].items()}
    for place in {**found, **_REQUIRED_MODEL}:
        if found.get(place) != _REQUIRED_MODEL.get(place):
            line = next((n for n, row in enumerate(text.splitlines(), 1) if row.strip().startswith(f"{place[1]} ")), 0)
            message = f"{MODEL} line {line}: [{place[0]}] {place[1]} is outside the form that can be compiled to a search filter"
            raise PolicyInvalidError(message)


def _labels(text: str) -> dict[str, int]:
    content = load_yaml(LABELS, text)
    labels = content.get("labels", content) if isinstance(content, dict) else None
    if not isinstance(labels, dict) or not labels:
        message = f"{LABELS}: expected a mapping from label to rank"
        raise PolicyInvalidError(message)
    for name, rank in labels.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or isinstance(rank, bool) or not isinstance(rank, int) or rank < 0:
            message = f"{LABELS}: `{name}: {rank}` is no label with a rank of 0 or more"
            raise PolicyInvalidError(message)
    missing = [name for name, rank in RANKS.items() if labels.get(name) != rank]
    if missing:
        message = f"{LABELS}: the base label `{missing[0]}` must keep rank {RANKS[missing[0]]}"
        raise PolicyInvalidError(message)
    return dict(labels)


def _groups(text: str) -> dict[Principal, frozenset[Principal]]:
    content = load_yaml(GROUPS, text) or {}
    if not isinstance(content, dict):
        message = f"{GROUPS}: expected a mapping from a principal to the list of principals it belongs to"
        raise PolicyInvalidError(message)
    parents = {}
    for child, above in content.items():
        if not isinstance(above, list) or not all(isinstance(name, str) and _PRINCIPAL.fullmatch(name) for name in [child, *above]):
            message = f"{GROUPS}: `{child}` must be a principal with a list of principals it belongs to"
            raise PolicyInvalidError(message)
        parents[Principal(child)] = frozenset(Principal(name) for name in above)
    return parents


def _rules(text: str, labels: dict[str, int]) -> tuple[Rule, ...]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rules: list[Rule] = []
    seen: dict[tuple[str, ...], int] = {}
    try:
        if tuple(next(reader, [])) != COLUMNS:
            message = f"{RULES} line 1: the header must be {','.join(COLUMNS)}"
            raise PolicyInvalidError(message)
        for row in reader:
            if not row or row[0].startswith("#"):
                continue
            rule = _rule(row, reader.line_num, labels)
            first = seen.setdefault(tuple(row[:-1]), reader.line_num)
            if first != reader.line_num:
                message = f"{RULES} line {reader.line_num}: the same rule stands on line {first}"
                raise PolicyInvalidError(message)
            rules.append(rule)
    except csv.Error as error:
        message = f"{RULES} line {reader.line_num}: {error}"
        raise PolicyInvalidError(message) from error
    if len(rules) > MAX_RULES:
        message = f"{RULES}: {len(rules)} rules; more than {MAX_RULES} are refused. Speak of groups and collections, not of people."
        raise PolicyInvalidError(message)
    return tuple(rules)


def _rule(row: list[str], line: int, labels: dict[str, int]) -> Rule:
    if len(row) != len(COLUMNS):
        message = f"{RULES} line {line}: {len(row)} columns instead of {len(COLUMNS)}"
        raise PolicyInvalidError(message)
    subject, tenant, collection, label, action, purpose, effect, why = row
    checks = (
        (_PRINCIPAL.fullmatch(subject), f"subject `{subject}` must be user:…, group:… or role:…"),
        (_NAME.fullmatch(tenant), f"tenant `{tenant}` must be one name; there is no rule for all tenants"),
        (collection == ANY or _NAME.fullmatch(collection), f"collection `{collection}` must be a name or *"),
        (label == ANY or label in labels, f"label `{label}` is not in {LABELS}"),
        (action in set(Action), f"action `{action}` is unknown; known are {', '.join(sorted(Action))}"),
        (purpose == ANY or _NAME.fullmatch(purpose), f"purpose `{purpose}` must be a name or *"),
        (effect in set(Effect), f"effect `{effect}` must be exactly `allow` or `deny`"),
        (why.strip(), "the column why must say why the rule exists"),
    )
    for holds, problem in checks:
        if not holds:
            message = f"{RULES} line {line}: {problem}"
            raise PolicyInvalidError(message)
    return Rule(Principal(subject), TenantId(tenant), collection, label, Action(action), purpose, Effect(effect), why, line)


def load_yaml(name: str, text: str) -> Any:  # noqa: ANN401 - YAML of any shape; every caller checks what it takes
    """Parse YAML safely. Raises PolicyInvalidError naming the line."""
    try:
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark is not None else ""
        message = f"{name}{place}: not valid YAML"
        raise PolicyInvalidError(message) from error
