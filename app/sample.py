"""Reads the sample company of `examples/`: its people and its documents. Ground floor: values only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from app.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class SamplePerson:
    """A sample person; the name is a role."""

    name: str
    description: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    clearance: str
    purposes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SampleCollection:
    """A collection of the sample company."""

    name: str
    title: str
    steward: str
    default_label: str
    languages: tuple[str, ...]
    redaction_profile: str
    retention_days: int | None


@dataclass(frozen=True, slots=True)
class SampleDocument:
    """A document of the sample company. `acl` is JSON with mode, allow and deny, or `None` to inherit."""

    path: Path
    collection: str
    external_id: str
    label: str | None
    language: str | None
    acl: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class SampleCompany:
    """Collections, and documents in the order in which they are handed in: a later one of the same external id is a new version."""

    collections: tuple[SampleCollection, ...]
    documents: tuple[SampleDocument, ...]


def read_people(folder: Path) -> tuple[SamplePerson, ...]:
    """The people in `people.yaml`. Raises ConfigurationError when the sample company is not there."""
    return tuple(
        SamplePerson(
            name=one["name"],
            description=one["description"],
            groups=tuple(one.get("groups", ())),
            roles=tuple(one.get("roles", ())),
            clearance=one["clearance"],
            purposes=tuple(one.get("purposes", ())),
        )
        for one in _read(folder / "people.yaml")["people"]
    )


def read_company(folder: Path) -> SampleCompany:
    """The company in `manifest.yaml`. Raises ConfigurationError when it is not there."""
    content = _read(folder / "manifest.yaml")
    collections = tuple(
        SampleCollection(
            name=one["name"],
            title=one["title"],
            steward=one["steward"],
            default_label=one["default_label"],
            languages=tuple(one["languages"]),
            redaction_profile=one["redaction_profile"],
            retention_days=one.get("retention_days"),
        )
        for one in content["collections"]
    )
    documents = tuple(
        SampleDocument(
            path=folder / one["path"],
            collection=one["collection"],
            external_id=one["external_id"],
            label=one.get("label"),
            language=one.get("language"),
            acl=one.get("acl"),
        )
        for one in content["documents"]
    )
    return SampleCompany(collections, documents)


def read_suggestions(folder: Path) -> dict[str, tuple[str, ...]]:
    """Questions for the first page by collection; empty when the sample company has none."""
    content = _read(folder / "manifest.yaml").get("suggestions", {})
    return {collection: tuple(questions) for collection, questions in content.items()}


def _read(path: Path) -> Any:  # noqa: ANN401 - YAML of our own making
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"The sample company is missing: {path} cannot be read. Set PORTCULLIS_EXAMPLES to its folder."
        raise ConfigurationError(message) from error
