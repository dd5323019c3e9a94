"""Making indexes and aliases: a tenant's first ones, and generations that are built beside the one that serves."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.identity import TenantId
from app.domain.search import IndexedDocument
from app.errors import ConfigurationError, ConflictError, UpstreamUnavailableError
from app.index.opensearch import inventory
from app.index.opensearch.connection import Cluster, VersionConflictError, path_of
from app.index.opensearch.heads import Generations, Heads
from app.index.opensearch.mapping import FORMAT, Body, chunk_index, heads_index
from app.observability import logger

_log = logger(__name__)
_OLDEST = (3, 0)
_NEWEST_MAJOR = 3
_UNFINISHED = "The new index does not serve yet; nothing was deleted. Go on with portcullis index rebuild, or give it up with --abandon."
_SERVES_ALREADY = "The new index serves already, and nothing was deleted: portcullis index rebuild --confirm deletes the old one."

Known = tuple[Generations, tuple[int, int]]
"""A tenant's record, and where it stood."""


@dataclass(frozen=True, slots=True)
class Indexes:
    """Layout of one installation in a cluster."""

    cluster: Cluster
    heads: Heads

    async def prepare(self) -> None:
        """Check the server and what it holds, and make the index of heads when nothing is there yet.

        Raises ConfigurationError for a server or an index this program cannot work with, and UpstreamUnavailableError.
        """
        await self._require_server()
        rules = self.cluster.rules
        if await self.cluster.ask("GET", f"/{rules.heads}/_mapping") is None:
            await self._create(rules.heads, heads_index(rules))
        held = await self.cluster.ask("GET", f"/{rules.prefix}-*/_mapping") or {}
        unused: set[str] = set()
        for tenant in await self.heads.tenants():
            found = await self.heads.generations(tenant)
            if found is not None and found[0].is_old:
                found = await self._adopt(tenant, found, held)
            used = set() if found is None else {name for one in found[0].written for name in self.names(tenant, found[0], one)}
            unused |= {name for name in held if self._is_of(tenant, name) and name not in used}
        for name in held:
            # What a write after a generation's end left, in a server that makes indexes by itself, keeps nobody from starting.
            if rules.is_ours(name) and name not in unused:
                self._require_format(name, _about(held, name))

    async def ensure(self, tenant: TenantId) -> Generations:
        """The tenant's generations, its first one made when it has none. Safe to race."""
        return (await self._known(tenant))[0]

    async def served(self, tenant: TenantId) -> set[str]:
        """The indexes that searches go to: all those behind the alias."""
        return set(await self.cluster.ask("GET", path_of(self.cluster.rules.alias(tenant), "_mapping")) or ())

    async def require_served(self, tenant: TenantId) -> bool:
        """Refuse an alias that is gone, or names anything but the indexes that the tenant's record names; false for a tenant without one.

        A snapshot restored under another name brings its alias along, and its documents would be searched as they were then.
        Raises UpstreamUnavailableError.
        """
        found = await self.heads.generations(tenant)
        if found is None:
            return False
        self._require_alone(tenant, found[0], await self.served(tenant))
        return True

    def names(self, tenant: TenantId, present: Generations, generation: int) -> list[str]:
        """The indexes of a generation."""
        return [self.cluster.rules.index(tenant, generation, group) for group in present.groups(generation)]

    async def begin(self, tenant: TenantId) -> Generations:
        """Make a generation beside the one that serves; from now on every write goes to both. Resumes one that was begun.

        An index of the serving one that is lost is made anew, empty and behind no alias, so that writes go on. Raises
        ConfigurationError while the old one of a swap is there still.
        """
        present, seen = await self._finished(tenant, await self._known(tenant))
        if present.is_swapped:
            raise _unconfirmed()
        served, wanted = await self.served(tenant), self.names(tenant, present, present.live)
        if not served < set(wanted):
            self._require_alone(tenant, present, served)
        await self._make(wanted, alias="")
        if present.building is not None:
            await self._make(self.names(tenant, present, present.building), alias="")
            return present
        # Never an index that is there already: another process may be making it, or a late write have made it without its mapping.
        number = 1 + max(present.live, *(int(name.rpartition("-g")[2]) for name in await self._held(tenant)))
        begun = Generations(present.live, number, {**present.own, number: self._own()})
        await self._make(self.names(tenant, begun, number), alias="")
        await self._replace(tenant, begun, seen)
        return begun

    async def held(self, tenant: TenantId, generation: int) -> list[IndexedDocument]:
        """The inventory of one generation, to be compared with the register before a swap."""
        return await inventory.held(self.cluster, self.heads, tenant, generation)

    async def swap(self, tenant: TenantId) -> Generations:
        """Let the new generation serve, in one step for all searches; writes still go to both until `drop_other`.

        Raises ConflictError when none is being built, ConfigurationError when it serves already and the old one is there still.
        """
        found = await self.heads.generations(tenant)
        if found is None or found[0].building is None:
            message = "No generation is being built: begin one first."
            raise ConflictError(message)
        present, seen = found
        if present.is_swapped:
            raise _unconfirmed()
        alias, building = self.cluster.rules.alias(tenant), present.written[1]
        old = [{"remove": {"index": name, "alias": alias, "must_exist": False}} for name in self.names(tenant, present, present.live)]
        new = [{"add": {"index": name, "alias": alias}} for name in self.names(tenant, present, building)]
        if await self.cluster.ask("POST", "/_aliases", {"actions": [*old, *new]}) is None:
            message = "An index or an alias of this tenant is missing."
            raise UpstreamUnavailableError(message)
        # Whoever looks in between may write this record first.
        await self._finished(tenant, (present, seen))
        return Generations(building, present.live, present.own)

    async def finish(self, tenant: TenantId) -> None:
        """Write what a swap did not come to write that was cut short once the alias had moved."""
        found = await self.heads.generations(tenant)
        if found is not None:
            await self._finished(tenant, found)

    async def drop_other(self, tenant: TenantId, *, unfinished: bool = False) -> bool:
        """Delete all generations but the one that serves: the old one after a swap, or the `unfinished` one before, and what was left.

        The alias is asked which one that is. Returns false when there is no such other. With nothing deleted, raises ConfigurationError
        when it is the other way round, and UpstreamUnavailableError when record and alias do not agree.
        """
        found = await self.heads.generations(tenant)
        if found is None:
            return False
        present, seen = await self._finished(tenant, found)
        if present.building is not None and present.is_swapped is unfinished:
            raise ConfigurationError(_SERVES_ALREADY if unfinished else _UNFINISHED)
        alone = Generations(present.live, own=present.own)
        self._require_alone(tenant, alone, await self.served(tenant))
        if present.building is not None:
            # First, so that nobody writes there any more. Should this end here, the next call deletes what no record names.
            await self._replace(tenant, alone, seen)
        return await self._drop_unknown(tenant, alone) or present.building is not None

    async def _known(self, tenant: TenantId) -> Known:
        found = await self.heads.generations(tenant)
        if found is not None:
            return found
        first = Generations(1, own={1: self._own()})
        await self._make(self.names(tenant, first, 1), alias=self.cluster.rules.alias(tenant))
        with contextlib.suppress(VersionConflictError):
            await self.heads.put_generations(tenant, first, None)
        return await self._known(tenant)

    async def _adopt(self, tenant: TenantId, found: Known, held: Mapping[str, Body]) -> Known:
        """Bring a record of an earlier release up to date: it named no collections, and each one with an index had an alias of its own."""
        old, seen = found
        rules = self.cluster.rules
        own = {number: tuple(name for name in self._own() if rules.index(tenant, number, name) in held) for number in old.written}
        present = Generations(old.live, old.building, own)
        add = [{"add": {"index": name, "alias": rules.alias(tenant)}} for name in self.names(tenant, present, present.live)]
        if len(add) > 1:
            await self.cluster.ask("POST", "/_aliases", {"actions": add})
        await self._replace(tenant, present, seen)
        return await self._known(tenant)

    async def _finished(self, tenant: TenantId, found: Known) -> Known:
        """A tenant's record, with what a swap did not come to write that was cut short once the alias had moved."""
        present, seen = found
        if present.building is None or present.is_swapped:
            return found
        if await self.served(tenant) != set(self.names(tenant, present, present.building)):
            return found
        with contextlib.suppress(VersionConflictError):
            await self.heads.put_generations(tenant, Generations(present.building, present.live, present.own), seen)
        return await self._known(tenant)

    async def _drop_unknown(self, tenant: TenantId, present: Generations) -> bool:
        """Delete the tenant's indexes of generations that its record does not name; tells whether there was any."""
        kept = {name for one in present.written for name in self.names(tenant, present, one)}
        unknown = [name for name in await self._held(tenant) if name not in kept]
        for name in unknown:
            await self.cluster.ask("DELETE", path_of(name))
        return bool(unknown)

    async def _held(self, tenant: TenantId) -> list[str]:
        """The tenant's indexes of all generations, named by a record or not."""
        alias = self.cluster.rules.alias(tenant)
        held = await self.cluster.ask("GET", f"/{alias}-g*,{alias}-own.*-g*/_mapping") or {}
        return sorted(name for name in held if self._is_of(tenant, name))

    def _require_alone(self, tenant: TenantId, present: Generations, served: set[str]) -> None:
        # Between the two halves of a swap the alias is ahead of the record.
        ahead = () if present.building is None or present.is_swapped else self.names(tenant, present, present.building)
        wanted = set(self.names(tenant, present, present.live))
        if served in (wanted, set(ahead) or wanted):
            return
        # Names of indexes are names of collections: they are told to operators, never to whoever searches.
        unknown, lost = sorted(served - wanted), sorted(wanted - served)
        _log.error("index_not_as_recorded", alias=self.cluster.rules.alias(tenant), unknown=unknown, missing=lost)
        message = "What the search engine serves is not what is on record; the log says which indexes."
        raise UpstreamUnavailableError(message)

    async def _make(self, names: list[str], *, alias: str) -> None:
        """Make indexes of chunks, behind an alias where one is given; those that exist stay."""
        for name in names:
            await self._create(name, {**chunk_index(self.cluster.rules), **({"aliases": {alias: {}}} if alias else {})})
        held = await self.cluster.ask("GET", f"/{','.join(names)}/_mapping") or {}
        for name in names:
            self._require_format(name, _about(held, name))

    async def _replace(self, tenant: TenantId, wanted: Generations, seen: tuple[int, int]) -> None:
        try:
            await self.heads.put_generations(tenant, wanted, seen)
        except VersionConflictError as error:
            message = "Another process changes this tenant's generations."
            raise ConflictError(message) from error

    async def _create(self, name: str, body: Body) -> None:
        try:
            await self.cluster.ask("PUT", path_of(name), body)
        except UpstreamUnavailableError:
            # Another process made it first, or the server said no: looking tells which.
            if await self.cluster.ask("GET", path_of(name, "_mapping")) is None:
                raise

    async def _require_server(self) -> None:
        found = await self.cluster.ask("GET", "/") or {}
        about = found.get("version", {})
        number = str(about.get("number", ""))
        parts = tuple(int(part) for part in number.split(".")[:2] if part.isdigit())
        if about.get("distribution") != "opensearch" or not _OLDEST <= parts < (_NEWEST_MAJOR + 1,):
            message = (
                f"The search server is {about.get('distribution', 'no OpenSearch')} {number}: "
                f"Portcullis works with OpenSearch {_OLDEST[0]}.{_OLDEST[1]} and later releases of {_NEWEST_MAJOR}. Upgrade the server."
            )
            raise ConfigurationError(message)

    def _require_format(self, name: str, about: Body) -> None:
        rules = self.cluster.rules
        if about.get("format") != FORMAT:
            message = f"The index {name} has format {about.get('format')}, this program wants {FORMAT}: rebuild it or use another prefix."
            raise ConfigurationError(message)
        if name != rules.heads and about.get("dim") != rules.dim:
            message = f"The index {name} holds vectors of {about.get('dim')} dimensions, the model gives {rules.dim}: rebuild the index."
            raise ConfigurationError(message)

    def _own(self) -> tuple[str, ...]:
        return tuple(sorted(self.cluster.rules.own_index))

    def _is_of(self, tenant: TenantId, name: str) -> bool:
        """Whether an index is of any generation of this tenant; the alias of another may begin with this one's."""
        return re.fullmatch(rf"{re.escape(self.cluster.rules.alias(tenant))}(-own\.[a-z0-9_.]+)?-g\d+", name) is not None


def _about(held: Mapping[str, Body], name: str) -> Body:
    found: Body = held.get(name, {}).get("mappings", {}).get("_meta", {})
    return found


def _unconfirmed() -> ConfigurationError:
    return ConfigurationError(
        "The new index serves already and the old one is kept: confirm first, with portcullis index rebuild --confirm."
    )
