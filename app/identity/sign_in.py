"""The browser's sign-in: authorization code with PKCE (RFC 6749, RFC 7636, OpenID Connect Core) through Authlib."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ssl import SSLContext
from typing import Any

import httpx
import httpx2
from authlib.common.security import generate_token
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from app.domain.identity import TenantId
from app.errors import NotAuthenticatedError, UpstreamUnavailableError
from app.identity.keys import RemoteKeys
from app.identity.sessions import digest_of
from app.identity.tokens import TokenVerifier
from app.storage import people_rows
from app.storage.people_rows import LoginAttempt
from app.storage.transaction import Transaction

_ATTEMPT_LIVES = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class ClientRules:
    """What the issuer knows this gateway by, and what its certificate is checked against; `True` is the public authorities."""

    client_id: str
    secret: str | None = None
    trust: SSLContext | bool = True


class SignIn:
    """Sends a browser to the issuer and takes it back. `redirect_uri` is this gateway's callback address."""

    def __init__(self, client: ClientRules, access: TokenVerifier, identity: TokenVerifier, keys: RemoteKeys) -> None:
        self._client = client
        self._access = access
        self._identity = identity
        self._keys = keys

    async def begin(self, tenant: TenantId, redirect_uri: str, next_path: str, hint: str | None) -> tuple[str, str, LoginAttempt]:
        """(address to send the browser to, state to keep in a cookie, what to keep with `keep_attempt`). May ask the issuer."""
        endpoints = await self._keys.endpoints()
        verifier, nonce, state = generate_token(64), secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        extra = {"login_hint": hint} if hint else {}
        client = AsyncOAuth2Client(self._client.client_id, redirect_uri=redirect_uri, scope="openid profile")
        url, _ = client.create_authorization_url(
            endpoints.authorization,
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),  # type: ignore[no-untyped-call]  # the library ships no types
            code_challenge_method="S256",
            **extra,
        )
        return url, state, LoginAttempt(tenant, digest_of(state), nonce, verifier, next_path, datetime.now(UTC))

    async def finish(self, attempt: LoginAttempt | None, redirect_uri: str, code: str) -> dict[str, Any]:
        """Verified claims of the access token. Raises NotAuthenticatedError for a foreign, late or refused return."""
        if attempt is None:
            reason = "sign_in_unknown_or_expired"
            raise NotAuthenticatedError(reason)
        endpoints = await self._keys.endpoints()
        try:
            async with AsyncOAuth2Client(
                self._client.client_id,
                self._client.secret,
                redirect_uri=redirect_uri,
                timeout=10.0,
                trust_env=False,
                verify=self._client.trust,
            ) as client:
                tokens = await client.fetch_token(endpoints.token, code=code, code_verifier=attempt.code_verifier)
        except OAuthError as error:
            reason = f"code_refused: {error.error}"
            raise NotAuthenticatedError(reason) from error
        except (httpx.HTTPError, httpx2.HTTPError, ValueError) as error:  # Authlib takes the second where it is installed.
            message = "The sign-in service does not answer."
            raise UpstreamUnavailableError(message) from error
        access_token = str(tokens.get("access_token", ""))
        identity = await self._identity.verify(str(tokens.get("id_token", "")), access_token)
        if identity.get("nonce") != attempt.nonce:
            reason = "nonce_differs"
            raise NotAuthenticatedError(reason)
        claims = await self._access.verify(access_token)
        if claims["sub"] != identity["sub"]:
            reason = "tokens_of_two_subjects"
            raise NotAuthenticatedError(reason)
        # The issuer ends sessions by this name; not every issuer puts it into access tokens.
        return {**claims, "sid": identity["sid"]} if isinstance(identity.get("sid"), str) else claims


async def keep_attempt(tx: Transaction, attempt: LoginAttempt) -> None:
    """Keep a sign-in until the browser is back."""
    await people_rows.put_login(tx, attempt, attempt.created_at - _ATTEMPT_LIVES)


async def take_attempt(tx: Transaction, tenant: TenantId, state: str) -> LoginAttempt | None:
    """The sign-in that `state` names, once only."""
    return await people_rows.take_login(tx, tenant, digest_of(state), datetime.now(UTC) - _ATTEMPT_LIVES)
