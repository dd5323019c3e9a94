"""Error families with stable codes. No HTTP lives here: `api/problems.py` maps each family to a status."""

from typing import ClassVar


class PortcullisError(Exception):
    """Base of every error that a caller may see.

    `detail` is safe to show to whoever caused the error: no policy row, no title they may not see, no personal data.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, decision_id: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.decision_id = decision_id


class NotAuthenticatedError(PortcullisError):
    """No valid identity. `reason` goes to the log only; the caller always reads the same sentence."""

    code = "not_authenticated"

    def __init__(self, reason: str) -> None:
        super().__init__("Sign in first: the request carries no valid access token.")
        self.reason = reason


class AccessDeniedError(PortcullisError):
    """Policy said no and the caller may know that the action exists."""

    code = "access_denied"


class NotFoundError(PortcullisError):
    """Absent, or forbidden where existence itself is secret: both read alike."""

    code = "not_found"

    def __init__(self, detail: str = "Nothing with this id is open to you.", *, decision_id: str | None = None) -> None:
        super().__init__(detail, decision_id=decision_id)


class ConflictError(PortcullisError):
    """The request contradicts the present state, for example a reused idempotency key with another body."""

    code = "conflict"


class InvalidInputError(PortcullisError):
    """The input is malformed. `pointer` is a JSON pointer to the part to mend."""

    code = "invalid_input"

    def __init__(self, detail: str, *, pointer: str = "") -> None:
        super().__init__(detail)
        self.pointer = pointer


class UnsupportedContentError(InvalidInputError):
    """A document that is refused with a reason: encrypted, wrong magic bytes, a format not known."""

    code = "unsupported_content"


class LimitExceededError(PortcullisError):
    """A size or rate limit was met. `is_size` tells 413 from 429."""

    code = "limit_exceeded"

    def __init__(self, detail: str, *, is_size: bool, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.is_size = is_size
        self.retry_after_s = retry_after_s


class UpstreamUnavailableError(PortcullisError):
    """A part the gateway needs (index, database, issuer, model) did not answer."""

    code = "upstream_unavailable"
    retryable = True


class OutcomeUnknownError(UpstreamUnavailableError):
    """The database went away while it was told to commit: what was asked for may have been done or not."""


class UpstreamRefusedError(UpstreamUnavailableError):
    """Such a part answered, and does not take this request: waiting alone mends nothing."""


class AuditUnavailableError(PortcullisError):
    """The log could not take the record, so nothing is released."""

    code = "audit_unavailable"
    retryable = True


class PolicyInvalidError(PortcullisError):
    """A policy file or row is outside the fragment this gateway understands; names file and line."""

    code = "policy_invalid"


class ConfigurationError(PortcullisError):
    """A setting, a model folder or a schema is not as it must be; says the command that mends it."""

    code = "configuration"
