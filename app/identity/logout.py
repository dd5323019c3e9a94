"""Logout tokens (OpenID Connect Back-Channel Logout 1.0): the issuer tells that somebody's sessions are over."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.errors import NotAuthenticatedError
from app.identity.tokens import TokenRules, TokenVerifier

_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_OLDEST = timedelta(minutes=5)
TYPES = frozenset({"jwt", "logout+jwt", "application/logout+jwt"})
REQUIRED = ("exp", "iat", "iss", "aud", "jti")


@dataclass(frozen=True, slots=True)
class Logout:
    """Whose sessions end: those of the issuer's session `sid`, or all of `subject` whose token was issued up to `issued_at`.

    Sent twice, it ends nothing that began after it: a `sid` never comes back, and both times are of the issuer's clock.
    """

    issuer: str
    subject: str | None
    sid: str | None
    issued_at: datetime


def logout_rules(issuer: str, client_id: str, algorithms: tuple[str, ...], leeway_s: int) -> TokenRules:
    """What a logout token for this client must say."""
    return TokenRules(issuer, client_id, algorithms, leeway_s, TYPES, REQUIRED)


async def read_logout(verifier: TokenVerifier, token: str) -> Logout:
    """What a valid logout token says. Raises NotAuthenticatedError, its reason for the log only."""
    claims = await verifier.verify(token)
    events, subject, sid = claims.get("events"), claims.get("sub"), claims.get("sid")
    if not isinstance(events, dict) or not isinstance(events.get(_EVENT), dict):
        reason = "no_logout_event"
        raise NotAuthenticatedError(reason)
    if "nonce" in claims:
        # What carries one is an ID token, which a browser can be made to show.
        reason = "logout_token_with_nonce"
        raise NotAuthenticatedError(reason)
    if not isinstance(sid, str | None) or not (subject or sid):
        reason = "logout_of_nobody"
        raise NotAuthenticatedError(reason)
    issued_at = datetime.fromtimestamp(int(claims["iat"]), UTC)
    if issued_at < datetime.now(UTC) - _OLDEST:
        reason = "logout_token_too_old"
        raise NotAuthenticatedError(reason)
    return Logout(str(claims["iss"]), subject, sid, issued_at)
