"""Keeps the parsed redaction rules of the policy in force, by the digest of its bundle."""

from app.privacy.redaction import RedactionPolicy, parse_redaction

_FILE = "redaction.yaml"
_KEPT = 8


class RedactionBook:
    """Cache of frozen redaction policies. A bundle's rules never change, so its digest is key enough."""

    def __init__(self) -> None:
        self._policies: dict[str, RedactionPolicy] = {}

    def of(self, bundle_digest: str, text: str) -> RedactionPolicy:
        """The redaction rules of a bundle. Raises PolicyInvalidError naming file and line."""
        found = self._policies.get(bundle_digest)
        if found is None:
            found = parse_redaction(_FILE, text)
            if len(self._policies) >= _KEPT:
                self._policies.clear()
            self._policies[bundle_digest] = found
        return found

    def check(self, text: str) -> None:
        """Raise PolicyInvalidError, naming file and line, unless `text` holds valid rules."""
        parse_redaction(_FILE, text)
