"""Digests that stand in the log instead of text.

A plain digest of a short text can be guessed, so questions are digested under a key that never enters the database, and
answers are committed to with a random salt that only their receipt carries.
"""

import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path

from app.errors import ConfigurationError

KEY_BYTES = 32


def load_or_create_key(path: Path) -> bytes:
    """The 32 secret bytes in `path`, made on first use with mode 0600. Raises ConfigurationError when the file is damaged."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            message = f"The key file {path} holds {len(key)} bytes instead of {KEY_BYTES}: restore it from your backup."
            raise ConfigurationError(message) from None
        return key
    with os.fdopen(descriptor, "wb") as file:
        key = secrets.token_bytes(KEY_BYTES)
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key


def keyed_digest(key: bytes, tenant: str, text: str) -> str:
    """HMAC-SHA256 of `text` for one tenant, hex: lets an officer ask whether a value occurred without storing it."""
    return hmac.new(key, tenant.encode() + b"\x00" + text.encode("utf-8", "surrogatepass"), sha256).hexdigest()


def commitment(salt: str, text: str) -> str:
    """HMAC-SHA256 of `text` under a hex salt, hex: checkable by whoever holds the receipt, not guessable without it."""
    return hmac.new(bytes.fromhex(salt), text.encode("utf-8", "surrogatepass"), sha256).hexdigest()


def new_salt() -> str:
    """A fresh salt for `commitment`, hex."""
    return secrets.token_hex(KEY_BYTES)


def content_digest(text: str) -> str:
    """SHA-256 of released text, hex: for long text only."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
