"""Redaction rules: `policies/redaction.yaml` as a frozen value with a digest. Never patched; a bad file leaves the old one standing.

Closed by default three times: a type in no list is hidden, a profile nobody defined is `strict`, and secrets are hidden in all.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import yaml

from app.errors import PolicyInvalidError
from app.privacy.entities import KNOWN, NEVER_SHOWN

STRICTEST = "strict"
LISTS = ("everyone", "read_pii", "never")
VERSION = "1"


@dataclass(frozen=True, slots=True)
class Profile:
    """Entity types by who sees them: whoever may read, or only holders of `read_pii`. Everything else is hidden."""

    everyone: frozenset[str]
    read_pii: frozenset[str]


@dataclass(frozen=True, slots=True)
class RedactionPolicy:
    """All profiles of one file. `digest` is SHA-256 of its bytes, for decisions and receipts."""

    profiles: Mapping[str, Profile]
    digest: str

    def visible_types(self, profile: str, may_read_pii: bool) -> frozenset[str]:  # noqa: FBT001 - the right itself, named at every call
        """Entity types shown under `profile`; the strictest profile when the name is unknown."""
        chosen = self.profiles.get(profile, self.profiles[STRICTEST])
        return chosen.everyone | chosen.read_pii if may_read_pii else chosen.everyone


def load_redaction(path: Path) -> RedactionPolicy:
    """The policy in `path`. Raises PolicyInvalidError naming file and line for anything outside the format."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path.name}: cannot be read as UTF-8 text."
        raise PolicyInvalidError(message) from error
    return parse_redaction(path.name, text)


def parse_redaction(file_name: str, text: str) -> RedactionPolicy:
    """The policy in `text`. Raises PolicyInvalidError naming file and line for anything outside the format."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        message = f"{file_name}, line {mark.line + 1 if mark else 1}: not valid YAML."
        raise PolicyInvalidError(message) from error
    reader = _Reader(file_name)
    top = reader.mapping(root, {"version", "profiles"})
    if reader.text(top["version"]) != VERSION:
        raise reader.error(top["version"], f"version must be {VERSION}")
    profiles = {name: reader.profile(node) for name, node in reader.entries(top["profiles"])}
    if STRICTEST not in profiles:
        raise reader.error(top["profiles"], f"a profile named {STRICTEST} must exist: unknown names fall back to it")
    return RedactionPolicy(MappingProxyType(profiles), hashlib.sha256(text.encode()).hexdigest())


class _Reader:
    """Walks the YAML nodes, which know their lines, and refuses what it does not expect."""

    def __init__(self, file_name: str) -> None:
        self._file_name = file_name

    def error(self, node: yaml.Node | None, problem: str) -> PolicyInvalidError:
        """The refusal, with the place of `node`."""
        line = node.start_mark.line + 1 if node is not None else 1
        return PolicyInvalidError(f"{self._file_name}, line {line}: {problem}.")

    def entries(self, node: yaml.Node | None) -> list[tuple[str, yaml.Node]]:
        """Keys and values of a mapping, no key twice."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, "expected keys and values")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self.text(key)
            if name in found:
                raise self.error(key, f"{name} stands here a second time")
            found[name] = value
        return list(found.items())

    def mapping(self, node: yaml.Node | None, keys: set[str]) -> dict[str, yaml.Node]:
        """A mapping with exactly `keys`."""
        found = dict(self.entries(node))
        if set(found) != keys:
            raise self.error(node, f"expected exactly the keys {', '.join(sorted(keys))}")
        return found

    def text(self, node: yaml.Node) -> str:
        """A scalar as text."""
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, "expected a single value")
        return str(node.value)

    def profile(self, node: yaml.Node) -> Profile:
        """Three lists of known types, no type in two of them, secrets in `never`."""
        lists = self.mapping(node, set(LISTS))
        seen: dict[str, str] = {}
        for name in LISTS:
            for item in self._items(lists[name]):
                entity_type = self.text(item)
                if entity_type not in KNOWN:
                    raise self.error(item, f"{entity_type} is not an entity type")
                if entity_type in seen:
                    raise self.error(item, f"{entity_type} stands in {seen[entity_type]} already")
                if entity_type in NEVER_SHOWN and name != "never":
                    raise self.error(item, f"{entity_type} may stand in never only")
                seen[entity_type] = name
        chosen = {name: frozenset(kind for kind, place in seen.items() if place == name) for name in LISTS}
        return Profile(chosen["everyone"], chosen["read_pii"])

    def _items(self, node: yaml.Node) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(node, "expected a list of entity types")
        return list(node.value)
