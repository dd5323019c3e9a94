"""Signing keys of an issuer: discovery (OpenID Connect Discovery 1.0) and JWKS (RFC 7517), cached, refetched when a key is unknown."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from app.errors import UpstreamUnavailableError

_MAX_AGE_S = 3600.0
_REFETCH_AFTER_S = 10.0
_MAX_KEYS_BYTES = 256 * 1024


class KeySource(Protocol):
    """Where public keys come from."""

    async def key(self, kid: str) -> dict[str, Any] | None:
        """The JWK of this id, or `None`. Raises UpstreamUnavailableError when the issuer does not answer and nothing is cached."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What discovery says of an issuer."""

    issuer: str
    authorization: str
    token: str
    jwks: str
    end_session: str | None


class RemoteKeys:
    """Keys of one issuer over HTTP. An unknown `kid` causes one refetch, at most one every ten seconds, whoever asks."""

    def __init__(self, issuer: str, client: httpx.AsyncClient) -> None:
        self._issuer = issuer
        self._client = client
        self._keys: dict[str, dict[str, Any]] = {}
        self._fetched_at = float("-inf")
        self._lock = asyncio.Lock()
        self._endpoints: Endpoints | None = None

    async def key(self, kid: str) -> dict[str, Any] | None:
        """See KeySource."""
        found, age = self._keys.get(kid), time.monotonic() - self._fetched_at
        if found is not None and age < _MAX_AGE_S:
            return found
        async with self._lock:
            if time.monotonic() - self._fetched_at >= _REFETCH_AFTER_S:
                await self._refetch()
        return self._keys.get(kid)

    async def endpoints(self) -> Endpoints:
        """Discovery, cached. Raises UpstreamUnavailableError when it is not to be had or names another issuer."""
        if self._endpoints is None:
            content = await self._get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if content.get("issuer") != self._issuer:
                message = "The sign-in service names another issuer than the one configured."
                raise UpstreamUnavailableError(message)
            try:
                self._endpoints = Endpoints(
                    self._issuer,
                    content["authorization_endpoint"],
                    content["token_endpoint"],
                    content["jwks_uri"],
                    content.get("end_session_endpoint"),
                )
            except KeyError as error:
                message = f"The sign-in service's discovery lacks {error}."
                raise UpstreamUnavailableError(message) from error
        return self._endpoints

    async def _refetch(self) -> None:
        try:
            content = await self._get((await self.endpoints()).jwks)
        except UpstreamUnavailableError:
            self._fetched_at = time.monotonic()
            if not self._keys:
                raise
            return
        keys = [key for key in content.get("keys", []) if isinstance(key, dict) and isinstance(key.get("kid"), str)]
        self._keys = {key["kid"]: key for key in keys if key.get("use", "sig") == "sig"}
        self._fetched_at = time.monotonic()

    async def _get(self, url: str) -> dict[str, Any]:
        try:
            response = await self._client.get(url, timeout=5.0)
            response.raise_for_status()
            content = response.json() if len(response.content) <= _MAX_KEYS_BYTES else None
        except (httpx.HTTPError, ValueError) as error:
            message = "The sign-in service does not answer."
            raise UpstreamUnavailableError(message) from error
        if not isinstance(content, dict):
            message = "The sign-in service's answer is not understood."
            raise UpstreamUnavailableError(message)
        return content
