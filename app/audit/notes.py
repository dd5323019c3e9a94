"""Signed notes and checkpoints as C2SP `signed-note` and `tlog-checkpoint` define them, with Ed25519 (RFC 8032)."""

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ALGORITHM = b"\x01"
_DASH = "\u2014"
_ID_BYTES = 4
_MAX_NOTE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint says: the tree of `origin` has `size` leaves and this root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note text that is signed, with its final line break."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def verifier_key(name: str, key: Ed25519PublicKey) -> str:
    """`name+8hex+base64`, the form of Go's note package."""
    raw = key.public_bytes_raw()
    return f"{name}+{_key_id(name, raw).hex()}+{base64.b64encode(_ALGORITHM + raw).decode()}"


def sign(name: str, key: Ed25519PrivateKey, text: str) -> str:
    """The whole signed note: text, an empty line, one signature line."""
    raw = key.public_key().public_bytes_raw()
    blob = base64.b64encode(_key_id(name, raw) + key.sign(text.encode())).decode()
    return f"{text}\n{_DASH} {name} {blob}\n"


def open_checkpoint(note: str, vkey: str) -> Checkpoint:
    """The checkpoint of a note that `vkey` signed. Raises ValueError for anything else."""
    text, signatures = _split(note)
    name, key_id, key = _parse_key(vkey)
    if not any(_is_signed(line, (name, key_id, key), text) for line in signatures):
        message = "the note carries no valid signature of this key"
        raise ValueError(message)
    lines = text.split("\n")
    try:
        origin, size, root = lines[0], lines[1], base64.b64decode(lines[2], validate=True)
    except (IndexError, binascii.Error) as error:
        message = "the note is no checkpoint"
        raise ValueError(message) from error
    if not origin or not size.isascii() or not size.isdigit() or str(int(size)) != size or len(root) != sha256().digest_size:
        message = "the note is no checkpoint"
        raise ValueError(message)
    return Checkpoint(origin, int(size), root)


def _split(note: str) -> tuple[str, list[str]]:
    head, separator, tail = note.rpartition("\n\n")
    if not separator or not tail.endswith("\n") or len(note) > _MAX_NOTE_BYTES:
        message = "the text is no signed note"
        raise ValueError(message)
    return head + "\n", tail[:-1].split("\n")


def _parse_key(vkey: str) -> tuple[str, bytes, Ed25519PublicKey]:
    try:
        name, key_id, encoded = vkey.split("+", 2)
        blob = base64.b64decode(encoded, validate=True)
        key = Ed25519PublicKey.from_public_bytes(blob[1:])
    except ValueError as error:
        message = "the verifier key is not of the form name+hex+base64"
        raise ValueError(message) from error
    if blob[:1] != _ALGORITHM or _key_id(name, blob[1:]).hex() != key_id:
        message = "the verifier key does not match its own id"
        raise ValueError(message)
    return name, bytes.fromhex(key_id), key


def _is_signed(line: str, verifier: tuple[str, bytes, Ed25519PublicKey], text: str) -> bool:
    name, key_id, key = verifier
    parts = line.split(" ")
    if len(parts) != len((_DASH, name, "signature")) or parts[0] != _DASH or parts[1] != name:
        return False
    try:
        blob = base64.b64decode(parts[2], validate=True)
        key.verify(blob[_ID_BYTES:], text.encode())
    except (binascii.Error, InvalidSignature):
        return False
    return blob[:_ID_BYTES] == key_id


def _key_id(name: str, raw: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + _ALGORITHM + raw).digest()[:_ID_BYTES]
