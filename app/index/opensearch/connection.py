"""The one door to the cluster: requests out, replies checked, the vendor's errors translated. No other module knows `opensearchpy`.

A reply that is late, partial or malformed is an error, never fewer results. Bodies hold questions, so nothing of them is logged.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as NoConnection
from opensearchpy.exceptions import OpenSearchException, TransportError
from opensearchpy.serializer import JSONSerializer

from app.errors import ConfigurationError, InvalidInputError, UpstreamRefusedError, UpstreamUnavailableError
from app.index.opensearch.documents import malformed
from app.index.opensearch.rules import OpenSearchRules
from app.index.opensearch.signing import SigningConnection
from app.index.opensearch.staying import StayingConnection

Body = dict[str, Any]
Reply = Mapping[str, Any]

_ATTEMPTS = 6
_ATTEMPTS_AT_ONE = 3
_TOO_MANY = 429
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_BUSY = {429, 502, 503, 504}
_LATER = {408, 429}
"""Refusals that may be none the next time."""
_NO_INDEX = "index_not_found_exception"
_BATCH_BYTES = 1_000_000
_BATCH_ITEMS = 500

# The vendor logs requests that fail with their address, and with their body when asked to be verbose.
for _name in ("opensearch", "opensearchpy.trace"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


class VersionConflictError(Exception):
    """Somebody else wrote the same record in the meantime: read again and decide again."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of a bulk request. `document` is `None` for a deletion; `seen` is the sequence number and term it was read at, or `None`."""

    index: str
    key: str
    routing: str
    document: Body | None
    seen: tuple[int, int] | None = None
    is_new: bool = False

    def lines(self) -> bytes:
        """As newline-delimited JSON."""
        how: Body = {"_index": self.index, "_id": self.key, "routing": self.routing}
        if self.seen is not None:
            how |= {"if_seq_no": self.seen[0], "if_primary_term": self.seen[1]}
        if self.document is None:
            return orjson.dumps({"delete": how}) + b"\n"
        return orjson.dumps({"create" if self.is_new else "index": how}) + b"\n" + orjson.dumps(self.document) + b"\n"


class _Serializer(JSONSerializer):
    """Fast JSON for replies of megabytes; requests are given as bytes."""

    def loads(self, s: Any) -> Any:  # noqa: ANN401 - the vendor's signature
        return orjson.loads(s)


class Cluster:
    """Requests to one cluster. Belongs to the event loop that first used it."""

    def __init__(self, rules: OpenSearchRules) -> None:
        """Prepare a client; nothing is sent yet. Raises ConfigurationError for certificate files that cannot be read."""
        login = rules.login
        headers = {"authorization": f"Bearer {login.token}"} if login.token else {}
        is_tls = any(url.startswith("https:") for url in rules.urls)
        several = len(rules.urls) > 1
        options: Body = {"connection_class": StayingConnection}
        if login.aws_region:
            options = {"connection_class": SigningConnection, "signing": login}
        if login.user:
            options["http_auth"] = (login.user, login.password)
        if is_tls:
            options |= {"use_ssl": True, "ssl_context": _ssl_context(rules)}
        self.rules = rules
        self._client = AsyncOpenSearch(
            hosts=list(rules.urls),
            headers=headers,
            serializers={"application/json": _Serializer()},
            # A node that hangs must not hold a request for all of its time while another node would answer.
            timeout=rules.timeout_s / 2 if several else rules.timeout_s,
            max_retries=1 if several else 0,
            retry_on_timeout=several,
            retry_on_status=(502, 503, 504),
            **options,
        )

    async def close(self) -> None:
        """Close the connections, those to nodes that did not answer as well, which the client forgets."""
        pool = self._client.transport.connection_pool
        await self._client.close()
        for one in getattr(pool, "orig_connections", ()):
            await one.close()

    async def ask(self, method: str, path: str, body: Body | None = None, params: Mapping[str, str] | None = None) -> Reply | None:
        """Send one request; `None` when what it names does not exist. Raises VersionConflictError and UpstreamUnavailableError."""
        data = None if body is None else orjson.dumps(body)
        try:
            found = await self._send(method, path, data, params or {})
        except TransportError as error:
            if error.status_code == 404:  # noqa: PLR2004 - not found
                if "/_doc/" in path and _kind(error) == _NO_INDEX:
                    # No record in no index is a loss, not an answer: and a write would make an index without its mapping.
                    raise _missing() from error
                return None
            raise _translated(error) from error
        if not isinstance(found, Mapping):
            raise malformed()
        return found

    async def records(self, index: str, keys: Sequence[str]) -> list[Reply | None]:
        """Read records by their keys as they are now, in one request; `None` for each that is not there.

        Raises UpstreamUnavailableError, also for an index that is not there.
        """
        reply = await self.ask("POST", f"{path_of(index)}/_mget", {"ids": list(keys)})
        docs = None if reply is None else reply.get("docs")
        if not isinstance(docs, list) or [one.get("_id") for one in docs] != list(keys):
            raise malformed()
        for one in docs:
            if "error" in one:
                raise _missing() if one["error"].get("type") == _NO_INDEX else malformed()
        return [one if one.get("found") is True else None for one in docs]

    async def search_many(self, indexes: str, bodies: Sequence[Body], *, routing: str = "") -> list[Reply] | None:
        """Run searches in one request; `None` when an index does not exist. Raises UpstreamUnavailableError for a partial one."""
        data = b"".join(part for body in bodies for part in _search_lines(indexes, body, routing))
        path = "/_msearch"
        try:
            found = await self._send("POST", path, data, {"ccs_minimize_roundtrips": "false"})
        except TransportError as error:
            raise _translated(error) from error
        replies = found.get("responses") if isinstance(found, Mapping) else None
        if not isinstance(replies, list) or len(replies) != len(bodies):
            raise malformed()
        if any(isinstance(one, Mapping) and one.get("status") == 404 for one in replies):  # noqa: PLR2004 - not found
            return None
        for one in replies:
            _require_whole(one)
        return replies

    async def refresh(self, indexes: str) -> None:
        """Make what was written visible to the next search, on every copy that serves. Raises UpstreamUnavailableError."""
        found = await self.ask("POST", f"/{quote(indexes, safe=',*')}/_refresh")
        if found is None or found.get("_shards", {}).get("failed") != 0 or not found["_shards"].get("successful"):
            raise malformed()

    async def write(self, operations: Sequence[Operation], noted: dict[str, tuple[int, int]] | None = None) -> bool:
        """Write in order; tells whether all went through, false when somebody else had changed a record.

        `noted` takes in where each record stands that was written, by its key.

        Refused for load, items are sent again after a pause that grows, a bounded number of times. Raises InvalidInputError that
        names a chunk the engine cannot take, and UpstreamUnavailableError.
        """
        is_whole = True
        for batch in _batches(operations):
            is_whole &= await self._write_batch(batch, {} if noted is None else noted)
        return is_whole

    async def _write_batch(self, operations: Sequence[Operation], noted: dict[str, tuple[int, int]]) -> bool:
        waiting, is_whole = list(operations), True
        for attempt in range(_ATTEMPTS):
            if attempt:
                await _pause(attempt)
            again = []
            for one, outcome in await self._outcomes(waiting):
                status = outcome.get("status", 0)
                if status in _BUSY:
                    again.append(one)
                elif status == 409:  # noqa: PLR2004 - conflict
                    is_whole = False
                elif not _is_done(one, status):
                    raise _refused(one, outcome)
                elif "_seq_no" in outcome:
                    noted[one.key] = (int(outcome["_seq_no"]), int(outcome["_primary_term"]))
            waiting = again
            if not waiting:
                return is_whole
        message = "The search engine is too busy to take writes."
        raise UpstreamUnavailableError(message)

    async def _outcomes(self, operations: Sequence[Operation]) -> list[tuple[Operation, Reply]]:
        """Send a bulk request; refused as a whole for load, each of its lines is."""
        try:
            found = await self._send("POST", "/_bulk", b"".join(one.lines() for one in operations), {})
        except TransportError as error:
            if error.status_code in _BUSY:
                return [(one, {"status": error.status_code}) for one in operations]
            raise _translated(error) from error
        outcomes = [next(iter(item.values())) for item in found.get("items", ())] if isinstance(found, Mapping) else []
        if len(outcomes) != len(operations):
            raise malformed()
        return list(zip(operations, outcomes, strict=True))

    async def _send(self, method: str, path: str, data: bytes | None, params: Mapping[str, str]) -> Any:  # noqa: ANN401 - parsed JSON
        """Send once, and again a few times while the server says that it has too much to do and did nothing."""
        headers = {"content-type": "application/x-ndjson" if path in ("/_bulk", "/_msearch") else "application/json"}
        for attempt in range(_ATTEMPTS_AT_ONE):
            try:
                return await self._client.transport.perform_request(method, path, params=dict(params), body=data, headers=headers)
            except TransportError as error:
                if error.status_code != _TOO_MANY or attempt == _ATTEMPTS_AT_ONE - 1:
                    raise
                await _pause(attempt)
            except (OpenSearchException, OSError, ValueError) as error:
                raise malformed() from error
        raise malformed()


async def _pause(attempt: int) -> None:
    """Wait longer each time, and not as long as everybody else."""
    await asyncio.sleep(min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load


def path_of(*parts: str) -> str:
    """A path of names that may hold any character."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def _search_lines(indexes: str, body: Body, routing: str) -> tuple[bytes, bytes, bytes, bytes]:
    header: Body = {"index": indexes.split(","), "allow_partial_search_results": False}
    if routing:
        header["routing"] = routing
    if body.get("size") == 0:
        # Kept by the server until the index changes: what a filter grants is counted once, not with every question.
        header["request_cache"] = True
    return orjson.dumps(header), b"\n", orjson.dumps(body), b"\n"


def _require_whole(reply: object) -> None:
    """Refuse a search's reply that any shard is missing from."""
    if not isinstance(reply, Mapping):
        raise malformed()
    if "error" in reply:
        kind = reply["error"].get("type", "") if isinstance(reply["error"], Mapping) else ""
        message = f"The search engine could not search ({kind or 'no reason given'})."
        raise UpstreamUnavailableError(message)
    shards = reply.get("_shards", {})
    is_whole = shards.get("failed") == 0 and shards.get("total", 0) > 0 and shards.get("successful") == shards["total"]
    if reply.get("timed_out") is not False or not is_whole or not isinstance(reply.get("hits", {}).get("hits"), list):
        raise malformed()


def _is_done(operation: Operation, status: int) -> bool:
    # What was to be deleted may be gone already.
    return 200 <= status < 300 or (operation.document is None and status == 404)  # noqa: PLR2004 - success and not found


def _refused(operation: Operation, outcome: Mapping[str, Any]) -> Exception:
    status = outcome.get("status", 0)
    error = outcome.get("error")
    kind = error.get("type", "") if isinstance(error, Mapping) else ""
    if 400 <= status < 500 and status not in (401, 403, 404):  # noqa: PLR2004 - the document's own fault
        return InvalidInputError(f"The search engine refused {operation.key} ({kind}).")
    return UpstreamUnavailableError(f"The search engine did not take a write ({kind or status}).")


def _batches(operations: Sequence[Operation]) -> list[list[Operation]]:
    batches: list[list[Operation]] = []
    size = 0
    for one in operations:
        length = len(one.lines())
        if not batches or size + length > _BATCH_BYTES or len(batches[-1]) >= _BATCH_ITEMS:
            batches.append([])
            size = 0
        batches[-1].append(one)
        size += length
    return batches


def _missing() -> UpstreamUnavailableError:
    return UpstreamUnavailableError("An index of the search engine is missing: rebuild the index.")


def _translated(error: TransportError) -> Exception:
    if isinstance(error, NoConnection):
        return UpstreamUnavailableError("The search engine did not answer.")
    if error.status_code == 409:  # noqa: PLR2004 - conflict
        return VersionConflictError()
    if error.status_code == 403 and _kind(error) == "cluster_block_exception":  # noqa: PLR2004 - forbidden
        return UpstreamUnavailableError("The search engine takes no writes: an index is blocked, or its disk is nearly full.")
    if error.status_code in (401, 403):
        return UpstreamUnavailableError("The search engine refused the gateway's account: check its login and its role.")
    is_final = isinstance(error.status_code, int) and 400 <= error.status_code < 500 and error.status_code not in _LATER  # noqa: PLR2004 - the request's own fault
    refusal = UpstreamRefusedError if is_final else UpstreamUnavailableError
    return refusal(f"The search engine refused a request ({error.status_code} {_kind(error)}).")


def _kind(error: TransportError) -> str:
    """The name of the server's error, never its text: that may quote a document or a question."""
    found = error.error
    return found if isinstance(found, str) and found.replace("_", "").isalnum() else ""


def _ssl_context(rules: OpenSearchRules) -> ssl.SSLContext:
    """TLS that trusts the given authority and no other; the system's only where none is given."""
    login = rules.login
    try:
        context = ssl.create_default_context(cafile=None if login.ca_file is None else str(login.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if login.cert_file is not None:
            context.load_cert_chain(login.cert_file, login.key_file)
    except (OSError, ssl.SSLError) as error:
        message = (
            "A certificate file for OpenSearch cannot be read: check opensearch_ca_file, opensearch_cert_file and opensearch_key_file."
        )
        raise ConfigurationError(message) from error
    return context
