"""Verifies access tokens (RFC 7519, RFC 8725, RFC 9068): signature, algorithm, issuer, audience, times. Says why not only in the log."""

import json
from dataclasses import dataclass
from typing import Any

from jose import jwt
from jose.exceptions import JOSEError

from app.errors import NotAuthenticatedError
from app.identity.keys import KeySource

MAX_TOKEN_CHARS = 16_384
MAX_SUBJECT_CHARS = 255
"""OpenID Connect Core, section 2."""
_LAST_TIME = 253_402_300_799
"""31 December 9999: what a calendar holds."""
_KEY_TYPE = {"RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "ES256": "EC", "ES384": "EC", "ES512": "EC"}


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must say. `algorithms` holds asymmetric ones only; `leeway_s` is the clock difference allowed, in seconds.

    `types` are the values of the header `typ` taken, in lower case; `required` the claims that must be there.
    """

    issuer: str
    audience: str
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    leeway_s: int = 30
    types: frozenset[str] = frozenset({"jwt", "at+jwt", "application/at+jwt"})
    required: tuple[str, ...] = ("exp", "iat", "iss", "aud", "sub")


class TokenVerifier:
    """Checks tokens of one issuer."""

    def __init__(self, rules: TokenRules, keys: KeySource) -> None:
        unknown = set(rules.algorithms) - set(_KEY_TYPE)
        if unknown:
            message = f"not an asymmetric signature algorithm: {sorted(unknown)}"
            raise ValueError(message)
        self._rules = rules
        self._keys = keys

    async def verify(self, token: str, access_token: str | None = None) -> dict[str, Any]:
        """Claims of a valid token. Given the access token that came with an identity token, also that both belong together (`at_hash`).

        Raises NotAuthenticatedError, its reason for the log only, and UpstreamUnavailableError when keys cannot be had.
        """
        header = self._header(token)
        key = await self._keys.key(header["kid"])
        if key is None:
            reason = "unknown_kid"
            raise NotAuthenticatedError(reason)
        if key.get("kty") != _KEY_TYPE[header["alg"]] or key.get("alg", header["alg"]) != header["alg"]:
            reason = "key_and_algorithm_differ"
            raise NotAuthenticatedError(reason)
        required = {f"require_{claim}": True for claim in self._rules.required}
        options = {"leeway": self._rules.leeway_s, "verify_at_hash": access_token is not None, **required}
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[header["alg"]],
                audience=self._rules.audience,
                issuer=self._rules.issuer,
                access_token=access_token,
                options=options,
            )
        except (JOSEError, ValueError, TypeError, KeyError, OverflowError) as error:
            reason = f"token_refused: {type(error).__name__}"
            raise NotAuthenticatedError(reason) from error
        return self._checked(claims)

    def _header(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_CHARS or not token.isascii() or token.count(".") != len("hps") - 1:
            reason = "not_a_jwt"
            raise NotAuthenticatedError(reason)
        try:
            header = jwt.get_unverified_header(token)
        except (JOSEError, ValueError, RecursionError) as error:
            reason = "header_unreadable"
            raise NotAuthenticatedError(reason) from error
        # `crit`, embedded keys and key addresses would let the token choose how it is checked.
        if any(name in header for name in ("crit", "jwk", "jku", "x5u", "x5c")):
            reason = "header_chooses_its_key"
            raise NotAuthenticatedError(reason)
        if header.get("alg") not in self._rules.algorithms:
            reason = "algorithm_not_allowed"
            raise NotAuthenticatedError(reason)
        if not isinstance(header.get("kid"), str) or not header["kid"]:
            reason = "no_kid"
            raise NotAuthenticatedError(reason)
        if str(header.get("typ", "JWT")).lower() not in self._rules.types:
            reason = "not_an_access_token"
            raise NotAuthenticatedError(reason)
        return dict(header)

    def _checked(self, claims: dict[str, Any]) -> dict[str, Any]:
        if not _is_storable(claims):
            reason = "claims_unreadable"
            raise NotAuthenticatedError(reason)
        subject = claims.get("sub")
        if subject is None and "sub" not in self._rules.required:
            return claims
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARS:
            reason = "no_subject"
            raise NotAuthenticatedError(reason)
        if "groups" in (claims.get("_claim_names") or {}):
            # The issuer left groups out because there are too many: a missing group would also lose its deny rules.
            reason = "group_overage"
            raise NotAuthenticatedError(reason)
        return claims


def _is_storable(claims: dict[str, Any]) -> bool:
    """Whether claims are what any database and any JSON reader takes: text without NUL or half surrogates, finite numbers, real times."""
    try:
        text = json.dumps(claims, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, RecursionError):
        return False
    times = [claims[name] for name in ("exp", "iat", "nbf") if name in claims]
    return "\\u0000" not in text and all(isinstance(one, int | float) and 0 <= one <= _LAST_TIME for one in times)
