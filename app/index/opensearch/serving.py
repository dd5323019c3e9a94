"""Searches through an alias: nothing that an alias brings is taken that does not come from the indexes a tenant's record names."""

import time
from collections.abc import Sequence

from app.domain.identity import TenantId
from app.errors import UpstreamUnavailableError
from app.index.opensearch.connection import Body, Cluster, Reply
from app.index.opensearch.documents import malformed
from app.index.opensearch.indexes import Indexes
from app.index.opensearch.vectors import Vectors

_MODEL_HOLDS_S = 5.0
"""How long after a swap to vectors of another model this process may search by words alone, or by vectors that mean little."""


class Serving(Cluster):
    """The cluster for searches that go to a tenant's alias.

    A snapshot restored under another name brings its alias along, and of two indexes behind an alias one may be deleted: what is
    searched is then more or less than what was decided. Every reply says how many shards were asked, and the record how many there
    should be, so that this costs a search no request.
    """

    def __init__(self, indexes: Indexes, cluster: Cluster, model: str) -> None:
        """Searches of `cluster`, by the records of `indexes`; its connections are shared, and closed with it.

        `model` is the digest of the model that questions are embedded with, empty when it is not known.
        """
        vars(self).update(vars(cluster))
        self._cluster = cluster
        self._indexes = indexes
        self._tenants: dict[str, TenantId] = {}
        self._shards: dict[str, set[int]] = {}
        self._model = model
        self._models: dict[TenantId, tuple[float, str]] = {}

    def alias(self, tenant: TenantId) -> str:
        """What to search for a tenant."""
        found = self.rules.alias(tenant)
        self._tenants[found] = tenant
        return found

    def tenants(self) -> list[TenantId]:
        """Those searched for so far."""
        return list(self._tenants.values())

    def is_comparable_to(self, model: str) -> bool:
        """Whether questions may be compared with vectors of a model; of two models the cosines mean nothing."""
        return not self._model or model in ("", self._model)

    async def is_comparable(self, tenant: TenantId) -> bool:
        """Whether questions may be compared with the vectors that serve, as of a few seconds ago."""
        looked_at, model = self._models.get(tenant, (0.0, ""))
        if self._model and time.monotonic() - looked_at > _MODEL_HOLDS_S:
            found = await self._indexes.heads.generations(tenant)
            vectors = Vectors(self._cluster, self._indexes.heads)
            model = "" if found is None else await vectors.model(tenant, found[0].live)
            self._models[tenant] = (time.monotonic(), model)
        return self.is_comparable_to(model)

    async def search_many(self, indexes: str, bodies: Sequence[Body], *, routing: str = "") -> list[Reply] | None:
        """As the cluster does. Raises UpstreamUnavailableError too for an alias that names other indexes than it should."""
        replies = await self._cluster.search_many(indexes, bodies, routing=routing)
        tenant = self._tenants.get(indexes)
        if replies is None or tenant is None:
            return replies
        asked = {int(one["_shards"]["total"]) for one in replies}
        if asked != self._shards.get(indexes):
            await self._require_counted(indexes, tenant, asked)
        return replies

    async def _require_counted(self, alias: str, tenant: TenantId, asked: set[int]) -> None:
        """Count the shards that are to be asked anew: another process may have let a new generation serve since."""
        found = await self._indexes.heads.generations(tenant)
        if found is None:
            message = "An index is there that no record names: let a worker fill it, or delete it."
            raise UpstreamUnavailableError(message)
        present = found[0]
        self._shards[alias] = allowed = await self._counted(self._indexes.names(tenant, present, present.live))
        if present.building is not None and not present.is_swapped:
            # Between the two halves of a swap the alias is ahead of the record. Not kept: the next search counts again.
            allowed = allowed | await self._counted(self._indexes.names(tenant, present, present.building))
        if not asked <= allowed:
            await self._indexes.require_served(tenant)
            message = "The indexes of this tenant were changed during a search."
            raise UpstreamUnavailableError(message)

    async def _counted(self, names: Sequence[str]) -> set[int]:
        """The number of shards of some indexes; none when one of them is missing."""
        counted = await self._cluster.ask("GET", f"/{','.join(names)}/_count")
        try:
            return set() if counted is None else {int(counted["_shards"]["total"])}
        except (KeyError, TypeError, ValueError) as error:
            raise malformed() from error
