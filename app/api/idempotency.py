"""Idempotency-Key: the first response to a creating request is kept and given again; another body under the same key is a conflict."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Header, Request

from app.domain.identity import Caller
from app.errors import ConflictError
from app.storage import people_rows
from app.storage.people_rows import IdempotencyKey
from app.wiring import Services

KeyHeader = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200, description="Makes a repeat of this request harmless.")]


@dataclass(frozen=True, slots=True)
class Once:
    """One creating request: its key and the digest of its body."""

    services: Services
    key: IdempotencyKey | None
    body_digest: str

    async def run(self, status: int, work: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - JSON of the route
        """The JSON of `work`, or of its first run under this key. Raises ConflictError for another body or a run under way."""
        key = self.key
        if key is None:
            return await work()
        async with self.services.database.write() as tx:
            earlier = await people_rows.claim_key(tx, key, self.body_digest, datetime.now(UTC))
        if earlier is not None:
            return _repeat(earlier, self.body_digest)
        try:
            response = await work()
        except BaseException:
            async with self.services.database.write() as tx:
                await people_rows.free_key(tx, key)
            raise
        async with self.services.database.write() as tx:
            await people_rows.answer_key(tx, key, status, response)
        return response


async def once(request: Request, services: Services, caller: Caller, key: str | None) -> Once:
    """The creating request `request` makes. Its body is digested together with its address."""
    if key is None:
        return Once(services, None, "")
    digest = sha256(request.url.path.encode() + b"\x00" + await request.body()).hexdigest()
    subject = caller.subject
    route = f"{request.method} {request.scope['route'].path}"[:200]
    return Once(services, IdempotencyKey(subject.tenant, subject.subject_id, route, key), digest)


def _repeat(earlier: tuple[str, int | None, Any], body_digest: str) -> Any:  # noqa: ANN401 - JSON of the route
    digest, status, response = earlier
    if digest != body_digest:
        message = "This Idempotency-Key was used with another request."
        raise ConflictError(message)
    if status is None:
        message = "A request with this Idempotency-Key is still under way."
        raise ConflictError(message)
    return response
