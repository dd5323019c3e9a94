"""How the engine connects and lays out its indexes: plain values, read from no environment, and the names they lead to."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from app.domain.identity import TenantId
from app.index.words import clean

_PLAIN = re.compile(r"[a-z0-9_]{1,64}")
_RESERVED = "heads"
"""A tenant of this name would bear the name of the index of heads."""
_LONGEST_ID_BYTES = 512
"""OpenSearch refuses longer `_id`s."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who the gateway is to the cluster: basic, bearer token, client certificate or signed requests. What is unused is empty or `None`."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    aws_region: str = ""
    aws_key_id: str = ""
    aws_secret: str = field(default="", repr=False)
    aws_session_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class OpenSearchRules:
    """One installation's indexes. `dim` is the width of the embedder's vectors: the mapping is made with it, so it cannot change later."""

    urls: tuple[str, ...]
    dim: int
    login: Login = Login()
    prefix: str = "portcullis"
    shards: int = 1
    replicas: int = 1
    refresh_interval: str = "1s"
    knn_engine: str = "lucene"
    own_index: frozenset[str] = frozenset()
    timeout_s: float = 5.0

    @property
    def heads(self) -> str:
        """The index of heads: one small record a document, without words."""
        return f"{self.prefix}-heads"

    def alias(self, tenant: TenantId, group: str = "") -> str:
        """The name searches and writes go to. `group` is a collection with an index of its own, empty for all others."""
        return f"{self.prefix}-{_slug(tenant)}" + (f"-own.{_slug(group)}" if group else "")

    def index(self, tenant: TenantId, generation: int, group: str = "") -> str:
        """The index of one generation behind that alias."""
        return f"{self.alias(tenant, group)}-g{generation}"

    def is_ours(self, name: str) -> bool:
        """Whether an index is one of this installation's; another's prefix may begin with this one's."""
        return name == self.heads or re.fullmatch(rf"{re.escape(self.prefix)}-[a-z0-9_.]+(-own\.[a-z0-9_.]+)?-g\d+", name) is not None

    def groups(self) -> tuple[str, ...]:
        """Groups a tenant's chunks lie in: the common one and a collection each of `own_index`."""
        return ("", *sorted(self.own_index))

    def group(self, collection: str) -> str:
        """The group a collection lies in."""
        return collection if collection in self.own_index else ""


def chunk_key(document_id: str, version: int, chunk_id: str) -> str:
    """The `_id` of a chunk: the same for every repetition of the same write."""
    return _fitting(f"{clean(document_id)}@{version}#{clean(chunk_id)}")


def head_key(document_id: str) -> str:
    """The `_id` of a document's head."""
    return _fitting(f"document {clean(document_id)}")


def tenant_key(tenant: TenantId) -> str:
    """The `_id` of a tenant's record."""
    return _fitting(f"tenant {clean(tenant)}")


def model_key(tenant: TenantId, generation: int) -> str:
    """The `_id` of the record of which model's vectors a generation holds."""
    return _fitting(f"model {generation} {clean(tenant)}")


def _fitting(name: str) -> str:
    return name if len(name.encode()) <= _LONGEST_ID_BYTES else "sha256 " + hashlib.sha256(name.encode()).hexdigest()


def _slug(name: str) -> str:
    """A name as part of an index name; two names never share one: a point stands in those that were changed only."""
    if _PLAIN.fullmatch(name) and name != _RESERVED:
        return name
    readable = re.sub(r"[^a-z0-9_]+", "_", clean(name).lower())[:32].lstrip("_")
    return f"{readable}.{hashlib.sha256(clean(name).encode()).hexdigest()[:16]}"
