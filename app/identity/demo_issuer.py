"""A small OpenID Connect issuer for the demo: real keys, codes, PKCE and tokens, one click a person, no password.

It refuses to exist outside demo mode or off loopback. The web door gives it its addresses.
"""

import ipaddress
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jose import jwk, jwt

from app.errors import ConfigurationError, InvalidInputError
from app.sample import SamplePerson

ACCESS_LIVES_S = 8 * 3600
_CODE_LIVES_S = 60
_MAX_CODES = 1_000


@dataclass(frozen=True, slots=True)
class IssuerAddress:
    """Where the demo runs and for whom it speaks. `base_url` is the gateway's own, for example http://127.0.0.1:8080."""

    base_url: str
    client_id: str
    audience: str
    is_demo: bool

    @property
    def issuer(self) -> str:
        """The issuer identifier."""
        return f"{self.base_url}/demo-issuer"


@dataclass(frozen=True, slots=True)
class _Grant:
    person: SamplePerson
    redirect_uri: str
    code_challenge: str
    nonce: str
    expires_at: float


class DemoIssuer:
    """Signs sample people in. Also a KeySource for a gateway in the same process."""

    def __init__(self, address: IssuerAddress, people: Sequence[SamplePerson], key_file: Path) -> None:
        if not address.is_demo or not is_loopback(address.base_url):
            message = "The demo issuer starts in demo mode on a loopback address only: configure a real issuer (PORTCULLIS_OIDC_ISSUER)."
            raise ConfigurationError(message)
        self.address = address
        self.people: Mapping[str, SamplePerson] = {person.name: person for person in people}
        self._key_pem = _load_or_create(key_file)
        public = jwk.construct(self._key_pem, "RS256").public_key().to_dict()
        public = {name: value.decode() if isinstance(value, bytes) else value for name, value in public.items()}
        self._kid = sha256(public["n"].encode()).hexdigest()[:16]
        self._public = {**public, "kid": self._kid, "use": "sig", "alg": "RS256"}
        self._grants: dict[str, _Grant] = {}

    async def key(self, kid: str) -> dict[str, Any] | None:
        """See KeySource."""
        return self._public if kid == self._kid else None

    def jwks(self) -> dict[str, Any]:
        """The public keys."""
        return {"keys": [self._public]}

    def discovery(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0."""
        issuer = self.address.issuer
        return {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
            "grant_types_supported": ["authorization_code"],
            "token_endpoint_auth_methods_supported": ["none"],
        }

    def check_request(self, query: Mapping[str, str]) -> None:
        """Raise InvalidInputError unless `query` is an authorization request of this gateway with PKCE."""
        expected_redirect = f"{self.address.base_url}/auth/callback"
        checks = (
            (query.get("client_id") == self.address.client_id, "client_id"),
            (query.get("redirect_uri") == expected_redirect, "redirect_uri"),
            (query.get("response_type") == "code", "response_type"),
            (query.get("code_challenge_method") == "S256" and len(query.get("code_challenge", "")) == 43, "code_challenge"),  # noqa: PLR2004 - RFC 7636: 32 bytes in base64url
            (bool(query.get("state")) and bool(query.get("nonce")), "state"),
        )
        for holds, name in checks:
            if not holds:
                message = f"The sign-in request is not valid: {name}."
                raise InvalidInputError(message, pointer=f"/{name}")

    def grant(self, query: Mapping[str, str], name: str) -> str:
        """An authorization code for a sample person. Raises InvalidInputError."""
        self.check_request(query)
        person = self.people.get(name)
        if person is None:
            message = "There is no such sample person."
            raise InvalidInputError(message, pointer="/person")
        now = time.monotonic()
        self._grants = {code: one for code, one in self._grants.items() if one.expires_at > now}
        if len(self._grants) >= _MAX_CODES:
            message = "Too many sign-ins are under way."
            raise InvalidInputError(message)
        code = secrets.token_urlsafe(32)
        self._grants[code] = _Grant(person, query["redirect_uri"], query["code_challenge"], query["nonce"], now + _CODE_LIVES_S)
        return code

    def exchange(self, form: Mapping[str, str]) -> dict[str, Any] | None:
        """Tokens for a code, once, with the right verifier; `None` is `invalid_grant`."""
        grant = self._grants.pop(form.get("code", ""), None)
        if grant is None or grant.expires_at < time.monotonic() or form.get("grant_type") != "authorization_code":
            return None
        is_same = form.get("redirect_uri") == grant.redirect_uri and form.get("client_id", self.address.client_id) == self.address.client_id
        if not is_same or create_s256_code_challenge(form.get("code_verifier", "")) != grant.code_challenge:  # type: ignore[no-untyped-call]  # the library ships no types
            return None
        identity = {"sub": grant.person.name, "aud": self.address.client_id, "nonce": grant.nonce}
        access_token = self.access_token(grant.person.name)
        return {
            "access_token": access_token,
            "id_token": self._sign(identity, "JWT", access_token=access_token),
            "token_type": "Bearer",
            "expires_in": ACCESS_LIVES_S,
            "scope": "openid profile",
        }

    def access_token(self, name: str, lives_s: int = ACCESS_LIVES_S) -> str:
        """A signed access token (RFC 9068) for a sample person. Raises InvalidInputError for an unknown one."""
        person = self.people.get(name)
        if person is None:
            known = ", ".join(self.people)
            message = f"There is no sample person `{name}`. There are: {known}."
            raise InvalidInputError(message)
        claims = {
            "sub": person.name,
            "aud": self.address.audience,
            "preferred_username": person.name,
            "groups": list(person.groups),
            "roles": list(person.roles),
            "clearance": person.clearance,
            "purposes": list(person.purposes),
        }
        return self._sign(claims, "at+jwt", lives_s)

    def _sign(self, claims: dict[str, Any], kind: str, lives_s: int = ACCESS_LIVES_S, access_token: str | None = None) -> str:
        now = int(time.time())
        times = {"iss": self.address.issuer, "iat": now, "nbf": now, "exp": now + lives_s, "jti": secrets.token_urlsafe(12)}
        header = {"kid": self._kid, "typ": kind}
        # As Keycloak, Entra and Okta do, an identity token names the access token it came with.
        return str(jwt.encode({**claims, **times}, self._key_pem, algorithm="RS256", headers=header, access_token=access_token))


def is_loopback(url: str) -> bool:
    """Whether an address stays on this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _load_or_create(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return pem.decode("ascii")
