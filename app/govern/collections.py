"""ManageCollections: which collections a caller may read, and the right to make and change them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from app.audit.events import by_caller, decided
from app.audit.log import AuditLog
from app.domain.access import Acl, Action, Decision, Outcome, Resource
from app.domain.audit import EventType, JsonValue
from app.domain.content import Collection
from app.domain.identity import Caller, Subject
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.govern.rights import decide_right, refuse_right
from app.policy.book import PolicyBook
from app.policy.snapshot import Snapshot
from app.storage import collection_rows
from app.storage.transaction import Database

_DECIDING = frozenset({"default_label", "redaction_profile", "model_routing"})
"""Settings that open or close text as a rule does: whoever runs the service must not lift redaction on the side."""
READ_ACTIONS = (Action.SEARCH, Action.READ)


@dataclass(frozen=True)
class ManageCollections:
    """Reads and changes collections. Powers: policy, the register, the log."""

    database: Database
    policy: PolicyBook
    audit: AuditLog

    async def readable(self, subject: Subject) -> list[Collection]:
        """Collections in which the subject may read documents of some label, by name."""
        async with self.database.read() as tx:
            snapshot = await self.policy.current(tx, subject.tenant)
            collections = await collection_rows.list_collections(tx, subject.tenant)
        return [one for one in collections if is_readable(snapshot, subject, one.name)]

    async def open_by_default(self, subject: Subject) -> frozenset[str]:
        """Names of the collections whose documents are open to the subject as they come, under the default label."""
        async with self.database.read() as tx:
            snapshot = await self.policy.current(tx, subject.tenant)
            collections = await collection_rows.list_collections(tx, subject.tenant)
        labels = snapshot.bundle.labels
        known = [one for one in collections if one.default_label in labels]
        as_they_come = [
            Resource(subject.tenant, one.name, frozenset({one.default_label}), labels[one.default_label], Acl.inherited()) for one in known
        ]
        verdicts = snapshot.permits_all(subject, READ_ACTIONS, as_they_come)
        return frozenset(one.name for one, permitted in zip(known, verdicts, strict=True) if permitted)

    async def get(self, subject: Subject, name: str) -> Collection:
        """One collection the subject may read. Raises NotFoundError."""
        found = [one for one in await self.readable(subject) if one.name == name]
        if not found:
            raise NotFoundError
        return found[0]

    async def create(self, caller: Caller, value: Collection) -> Collection:
        """Make a collection. Needs `collection.write`, and `policy.write` too where what decides who sees what is not as usual.

        Raises ConflictError when the name is taken.
        """
        usual = new_collection(caller.subject, value.name, value.title)
        rights = [Action.COLLECTION_WRITE]
        if any(getattr(value, name) != getattr(usual, name) for name in _DECIDING):
            rights.append(Action.POLICY_WRITE)
        async with self.database.write() as tx:
            decisions = {right: await decide_right(tx, self.policy, caller, right) for right in rights}
            denied, decision = _first_denied(decisions), decisions[Action.COLLECTION_WRITE]
            if denied is None:
                _check_label(await self.policy.current(tx, value.tenant), value.default_label)
                if await collection_rows.get_collection(tx, value.tenant, value.name) is not None:
                    message = "A collection of this name exists."
                    raise ConflictError(message)
                await collection_rows.put_collection(tx, value)
                happening = decided(EventType.COLLECTION_CHANGED, decision, (), {"collection": value.name, "change": "created"})
                await self.audit.record_in(tx, by_caller(caller, happening))
                return value
        return await refuse_right(self.audit, caller, denied, decisions[denied])

    async def update(self, caller: Caller, name: str, changes: dict[str, Any]) -> Collection:
        """Change settings of a collection. Needs `collection.write`, and `policy.write` instead for what decides who sees what.

        Raises NotFoundError.
        """
        rights = {Action.POLICY_WRITE if name in _DECIDING else Action.COLLECTION_WRITE for name in changes} or {Action.COLLECTION_WRITE}
        async with self.database.write() as tx:
            decisions = {right: await decide_right(tx, self.policy, caller, right) for right in sorted(rights)}
            denied = _first_denied(decisions)
            if denied is None:
                before = await collection_rows.get_collection(tx, caller.subject.tenant, name)
                if before is None:
                    raise NotFoundError
                value = replace(before, **changes)
                _check_label(await self.policy.current(tx, value.tenant), value.default_label)
                await collection_rows.put_collection(tx, value)
                fields: dict[str, JsonValue] = {"collection": name, "change": "updated", "settings": sorted(changes)}
                decision = list(decisions.values())[-1]
                await self.audit.record_in(tx, by_caller(caller, decided(EventType.COLLECTION_CHANGED, decision, (), fields)))
                return value
        return await refuse_right(self.audit, caller, denied, decisions[denied])


def is_readable(snapshot: Snapshot, subject: Subject, collection: str) -> bool:
    """Whether some label of the collection is open to the subject."""
    inherited = Acl.inherited()
    resources: Sequence[Resource] = [
        Resource(subject.tenant, collection, frozenset({label}), rank, inherited) for label, rank in snapshot.bundle.labels.items()
    ]
    return any(snapshot.permits_all(subject, READ_ACTIONS, resources))


def new_collection(subject: Subject, name: str, title: str) -> Collection:
    """A collection with the defaults: internal, standard redaction, English, no end of retention, the caller as steward."""
    return Collection(
        tenant=subject.tenant,
        name=name,
        title=title,
        steward=subject.subject_id,
        default_label="internal",
        languages=("en",),
        retention_days=None,
        redaction_profile="standard",
        model_routing="default",
        created_at=datetime.now(UTC),
    )


def _first_denied(decisions: Mapping[Action, Decision]) -> Action | None:
    return next((right for right, one in decisions.items() if one.outcome is not Outcome.ALLOW), None)


def _check_label(snapshot: Snapshot, label: str) -> None:
    if snapshot.bundle.rank(label) is None:
        message = f"The label is unknown. Known labels: {', '.join(sorted(snapshot.bundle.labels))}."
        raise InvalidInputError(message, pointer="/default_label")
