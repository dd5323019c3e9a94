"""Making indexes and aliases: a tenant's first ones, and generations that are built beside the one that serves."""

from dataclasses import dataclass

from app.domain.identity import TenantId
from app.domain.search import IndexedDocument
from app.errors import ConfigurationError, ConflictError, UpstreamUnavailableError
from app.index.opensearch import inventory
from app.index.opensearch.connection import Cluster, VersionConflictError, path_of
from app.index.opensearch.heads import Generations, Heads
from app.index.opensearch.mapping import FORMAT, Body, chunk_index, heads_index

_OLDEST = (3, 0)
_NEWEST_MAJOR = 3


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
        for name, one in ((name, one) for name, one in held.items() if rules.is_ours(name)):
            self._require_format(name, one.get("mappings", {}).get("_meta", {}))

    async def ensure(self, tenant: TenantId) -> Generations:
        """The tenant's generations, its first one made when it has none. Safe to race."""
        found = await self.heads.generations(tenant)
        if found is not None:
            return found[0]
        await self.make_generation(tenant, 1, is_served=True)
        try:
            await self.heads.put_generations(tenant, Generations(1), None)
        except VersionConflictError:
            return await self.ensure(tenant)
        return Generations(1)

    async def make_generation(self, tenant: TenantId, generation: int, *, is_served: bool) -> None:
        """Make the indexes of a generation, behind their aliases if it is the first; those that exist stay."""
        rules = self.cluster.rules
        for group in rules.groups():
            body = chunk_index(rules)
            if is_served:
                body["aliases"] = {rules.alias(tenant, group): {}}
            await self._create(rules.index(tenant, generation, group), body)

    async def begin(self, tenant: TenantId) -> Generations:
        """Make a generation beside the one that serves; from now on every write goes to both. Resumes one that was begun."""
        present = await self.ensure(tenant)
        if present.building is not None:
            await self.make_generation(tenant, present.building, is_served=False)
            return present
        found = await self.heads.generations(tenant)
        wanted = Generations(present.live, present.live + 1)
        await self.make_generation(tenant, present.live + 1, is_served=False)
        await self._replace(tenant, wanted, found[1] if found else None)
        return wanted

    async def held(self, tenant: TenantId, generation: int) -> list[IndexedDocument]:
        """The inventory of one generation, to be compared with the register before a swap."""
        return await inventory.held(self.cluster, self.heads, tenant, generation)

    async def swap(self, tenant: TenantId) -> Generations:
        """Let the new generation serve, in one step for all searches; writes still go to both until `drop_old`.

        Raises ConflictError when none is being built.
        """
        found = await self.heads.generations(tenant)
        if found is None or found[0].building is None:
            message = "No generation is being built: begin one first."
            raise ConflictError(message)
        rules, (present, seen) = self.cluster.rules, found
        actions: list[Body] = []
        for group in rules.groups():
            alias, old, new = (rules.alias(tenant, group), *(rules.index(tenant, one, group) for one in present.written))
            actions += [{"remove": {"index": old, "alias": alias, "must_exist": False}}, {"add": {"index": new, "alias": alias}}]
        if await self.cluster.ask("POST", "/_aliases", {"actions": actions}) is None:
            message = "An index or an alias of this tenant is missing."
            raise UpstreamUnavailableError(message)
        wanted = Generations(present.written[1], present.live)
        await self._replace(tenant, wanted, seen)
        return wanted

    async def drop_other(self, tenant: TenantId) -> None:
        """Delete the generation that does not serve: the old one after a swap, an unwanted new one before."""
        found = await self.heads.generations(tenant)
        if found is None or found[0].building is None:
            return
        present, seen = found
        await self._replace(tenant, Generations(present.live), seen)
        for group in self.cluster.rules.groups():
            await self.cluster.ask("DELETE", path_of(self.cluster.rules.index(tenant, present.building or 0, group)))

    async def _replace(self, tenant: TenantId, wanted: Generations, seen: tuple[int, int] | None) -> None:
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
