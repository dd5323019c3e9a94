"""Idempotency-Key: the first response to a creating request is kept and given again; another body under the same key is a conflict."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any

import orjson
from fastapi import Header, Request

from app.domain.identity import Caller
from app.errors import ConflictError, OutcomeUnknownError, PortcullisError
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
    moment: datetime = field(default_factory=lambda: datetime.now(UTC))

    def name_of(self, number: int = 0) -> str | None:
        """An external id for the document of this number that comes without one, the same for every repeat; `None` without a key."""
        if self.key is None:
            return None
        said = self.key.subject_id, self.key.route, self.key.key, self.body_digest
        return self.services.submit.name_for(self.key.tenant, *said, str(number))

    async def run(self, status: int, work: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - JSON of the route
        """The JSON of `work`, or of its first run under this key. Raises ConflictError for another body or a run under way."""
        earlier = await self.claim()
        if earlier is not None:
            return earlier
        try:
            # As JSON already: a time in it would be refused by the table, after the work was done.
            response = orjson.loads(orjson.dumps(await work(), option=orjson.OPT_UTC_Z))
        except OutcomeUnknownError:
            # Kept for as long as a first use may take: a repeat that follows at once must not do it twice.
            raise
        except BaseException:
            await self.free()
            raise
        await self.keep(status, response)
        return response

    async def claim(self) -> Any | None:  # noqa: ANN401 - JSON of the route
        """Take the key: `None` when it is new, the first response when there is one. Raises ConflictError as `run` does."""
        if self.key is None:
            return None
        async with self.services.database.write() as tx:
            earlier = await people_rows.claim_key(tx, self.key, self.body_digest, self.moment)
        return None if earlier is None else _repeat(earlier, self.body_digest)

    async def keep(self, status: int, response: Any) -> None:  # noqa: ANN401 - JSON of the route
        """Keep the first response for repeats."""
        if self.key is not None:
            async with self.services.database.write() as tx:
                await people_rows.answer_key(tx, self.key, self.moment, status, response)

    async def free(self) -> None:
        """Give the key back after a failure. One that cannot be given back now falls back by itself later."""
        if self.key is not None:
            with suppress(PortcullisError):
                async with self.services.database.write() as tx:
                    await people_rows.free_key(tx, self.key, self.moment)


async def once(request: Request, services: Services, caller: Caller, key: str | None, said: bytes | None = None) -> Once:
    """The creating request `request` makes. Its body is digested together with its address and purpose.

    `said` stands for a body whose bytes say no more than what was read out of them.
    """
    if key is None:
        return Once(services, None, "")
    purpose = request.headers.get("x-purpose", "")
    digest = sha256(f"{request.url.path}\0{purpose}\0".encode() + (await request.body() if said is None else said)).hexdigest()
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
