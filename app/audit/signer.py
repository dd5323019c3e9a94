"""The signer: holds the Ed25519 key in a file of its own and remembers outside the database what it has signed.

It refuses to sign a log that is shorter than, or different from, what it signed before: that is how a cut tail or a
restored backup shows itself.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.audit.notes import Checkpoint, sign, verifier_key
from app.errors import AuditUnavailableError, ConfigurationError

_RAW_KEY_BYTES = 32


class CheckpointSigner:
    """Signs checkpoints. `folder` holds `signing.key` (0600), `state.json` and the append-only `checkpoints.txt`."""

    @staticmethod
    def is_kept_in(folder: Path) -> bool:
        """Whether `folder` is one of a signer, so that opening it makes no new key."""
        return (folder / "signing.key").exists()

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key = _load_or_create(folder / "signing.key")

    def verifier_key(self, log: str) -> str:
        """The public key for `log` as `name+hex+base64`."""
        return verifier_key(log, self._key.public_key())

    def last_signed(self, log: str) -> tuple[int, bytes] | None:
        """(size, root) of the newest checkpoint signed for `log`, from the signer's own memory."""
        seen = self._state().get(log)
        return None if seen is None else (seen["size"], bytes.fromhex(seen["root"]))

    def sign(self, checkpoint: Checkpoint) -> str:
        """The signed note. State is on disk before the signature exists.

        Raises AuditUnavailableError when the signer has signed a larger or a different tree; the caller proves with the
        tree itself that an equal or larger one extends the last.
        """
        with self._locked():
            state = self._state()
            seen = state.get(checkpoint.origin)
            if seen is not None:
                is_rewritten = seen["size"] == checkpoint.size and seen["root"] != checkpoint.root.hex()
                if seen["size"] > checkpoint.size or is_rewritten:
                    message = "The log is shorter than, or differs from, what was signed before. An officer has to look at it."
                    raise AuditUnavailableError(message)
            state[checkpoint.origin] = {"size": checkpoint.size, "root": checkpoint.root.hex()}
            _replace(self._folder / "state.json", json.dumps(state, sort_keys=True).encode())
            note = sign(checkpoint.origin, self._key, checkpoint.text())
            _append_once(self._folder / "checkpoints.txt", f"{note}\n".encode())
            return note

    def accept(self, log: str, size: int, root: bytes) -> None:
        """Go on from a log that is shorter than, or differs from, what was signed: somebody looked, and that is on record.

        What was signed before stays in `checkpoints.txt`.
        """
        with self._locked():
            state = self._state()
            state[log] = {"size": size, "root": root.hex()}
            _replace(self._folder / "state.json", json.dumps(state, sort_keys=True).encode())

    def _state(self) -> dict[str, dict[str, Any]]:
        try:
            return dict(json.loads((self._folder / "state.json").read_bytes()))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            message = f"The signer's memory {self._folder / 'state.json'} is damaged: restore it from a copy outside this machine."
            raise ConfigurationError(message) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class RemoteSigner:
    """Stands for a signer in a process of its own: this one knows its public key and reads what it signed."""

    def __init__(self, key: str) -> None:
        self._key = key

    def verifier_key(self, log: str) -> str:
        """The public key for `log`. Raises ConfigurationError when it was made for another one."""
        if not self._key.startswith(f"{log}+"):
            message = f"PORTCULLIS_VERIFIER_KEY is not the key of {log}: take what `portcullis signer --show-key` prints."
            raise ConfigurationError(message)
        return self._key

    def last_signed(self, log: str) -> None:
        """Nothing: its memory is its own."""

    def sign(self, checkpoint: Checkpoint) -> str:
        """Raises AuditUnavailableError: only the signer signs."""
        message = f"The signer has not signed {checkpoint.size} entries yet. Try again shortly."
        raise AuditUnavailableError(message)


def _load_or_create(path: Path) -> Ed25519PrivateKey:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raw = path.read_bytes()
        if len(raw) != _RAW_KEY_BYTES:
            message = f"The signing key {path} is damaged: restore it from your backup."
            raise ConfigurationError(message) from None
        return Ed25519PrivateKey.from_private_bytes(raw)
    key = Ed25519PrivateKey.generate()
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes_raw())
        file.flush()
        os.fsync(file.fileno())
    return key


def _append_once(path: Path, note: bytes) -> None:
    """Add a note, unless it is the last one already: signed again, a log that did not grow has the same."""
    with path.open("ab+") as file:
        file.seek(max(0, file.tell() - len(note)))
        if file.read() != note:
            file.write(note)


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".next")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
