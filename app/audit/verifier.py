#!/usr/bin/env python3
"""Checks a Portcullis receipt offline. One file, Python's standard library only: copy it anywhere and run it.

    portcullis-verify RECEIPT.json [--key VKEY] [--text ANSWER.txt]

It proves that the event in the receipt stands in the log: SHA-256 of the event, the audit path up to the root
(RFC 6962), and the Ed25519 signature (RFC 8032) of the checkpoint over that root (C2SP signed note). With --key only that key is
trusted; without it the key inside the receipt is used and the result says so. With --text the answer's text is checked
against the commitment in the event. Exit status: 0 holds, 1 does not hold, 2 usage.
"""

import argparse
import base64
import hashlib
import hmac
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_SQRT_M1 = pow(2, (_P - 1) // 4, _P)
_MAX_BYTES = 4 * 1024 * 1024
_HASH_BYTES = 32
_KEY_BYTES = 32
_NOTE_PARTS = 3
Point = tuple[int, int, int, int]


class InvalidReceiptError(Exception):
    """The receipt does not hold; the message says what."""


def _add(a: Point, b: Point) -> Point:
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    m, n = (y1 - x1) * (y2 - x2) % _P, (y1 + x1) * (y2 + x2) % _P
    c, d = 2 * t1 * t2 * _D % _P, 2 * z1 * z2 % _P
    e, f, g, h = n - m, d - c, d + c, n + m
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiply(scalar: int, point: Point) -> Point:
    result: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point, scalar = _add(point, point), scalar >> 1
    return result


def _is_equal(a: Point, b: Point) -> bool:
    return (a[0] * b[2] - b[0] * a[2]) % _P == 0 and (a[1] * b[2] - b[1] * a[2]) % _P == 0


def _recover_x(y: int, sign: int) -> int | None:
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    if square == 0:
        return None if sign else 0
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _SQRT_M1 % _P
    if (x * x - square) % _P:
        return None
    return _P - x if x & 1 != sign else x


def _decode(raw: bytes) -> Point | None:
    y = int.from_bytes(raw, "little")
    x = _recover_x(y & ((1 << 255) - 1), y >> 255)
    y &= (1 << 255) - 1
    return None if x is None else (x, y, 1, x * y % _P)


_BASE_Y = 4 * pow(5, _P - 2, _P) % _P
_BASE_X = _recover_x(_BASE_Y, 0) or 0
_BASE: Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)


def ed25519_verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    """RFC 8032 section 5.1.7, with canonical S required."""
    if len(public) != _KEY_BYTES or len(signature) != 2 * _KEY_BYTES:
        return False
    key, commitment = _decode(public), _decode(signature[:_KEY_BYTES])
    scalar = int.from_bytes(signature[_KEY_BYTES:], "little")
    if key is None or commitment is None or scalar >= _L:
        return False
    digest = hashlib.sha512(signature[:_KEY_BYTES] + public + message).digest()
    return _is_equal(_multiply(scalar, _BASE), _add(commitment, _multiply(int.from_bytes(digest, "little") % _L, key)))


def _need(condition: object, problem: str) -> None:
    if not condition:
        raise InvalidReceiptError(problem)


def _base64(value: object, name: str) -> bytes:
    _need(isinstance(value, str), f"`{name}` is missing")
    try:
        return base64.b64decode(str(value), validate=True)
    except ValueError as error:
        message = f"`{name}` is not base64"
        raise InvalidReceiptError(message) from error


def signed_checkpoint(note: object, vkey: str) -> tuple[str, int, bytes]:
    """(origin, tree size, root) of a note signed by `vkey`. Raises InvalidReceiptError."""
    _need(isinstance(note, str), "`checkpoint` is missing")
    text, separator, tail = str(note).rpartition("\n\n")
    _need(separator, "the checkpoint is no signed note")
    text += "\n"
    name, _, rest = vkey.partition("+")
    key_id, _, encoded = rest.partition("+")
    blob = _base64(encoded, "key")
    expected_id = hashlib.sha256(name.encode() + b"\n" + blob).digest()[:4]
    _need(blob[:1] == b"\x01" and expected_id.hex() == key_id, "the key does not match its own id")
    for line in tail.splitlines():
        parts = line.split(" ")
        if len(parts) == _NOTE_PARTS and parts[0] == "\u2014" and parts[1] == name:
            signature = _base64(parts[2], "signature")
            if signature[:4] == expected_id and ed25519_verifies(blob[1:], text.encode(), signature[4:]):
                lines = text.split("\n")
                _need(len(lines) > _NOTE_PARTS and lines[1].isdigit(), "the note is no checkpoint")
                return lines[0], int(lines[1]), _base64(lines[2], "root")
    message = "the checkpoint carries no valid signature of the trusted key"
    raise InvalidReceiptError(message)


def path_root(leaf: bytes, index: int, size: int, hashes: Sequence[bytes]) -> bytes:
    """Root that the audit path leads to (RFC 9162 section 2.1.3.2). Raises InvalidReceiptError."""
    _need(0 <= index < size, "the entry lies outside the tree")
    node, last, value = index, size - 1, leaf
    for sibling in hashes:
        _need(last > 0, "the audit path is too long")
        if node % 2 == 1 or node == last:
            value = hashlib.sha256(b"\x01" + sibling + value).digest()
            while node % 2 == 0 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            value = hashlib.sha256(b"\x01" + value + sibling).digest()
        node, last = node >> 1, last >> 1
    _need(last == 0, "the audit path is too short")
    return value


def verify_receipt(receipt: dict[str, Any], trusted_key: str | None = None) -> dict[str, Any]:
    """The event that the receipt proves. Raises InvalidReceiptError saying what does not hold."""
    _need(isinstance(receipt, dict) and receipt.get("format") == "portcullis-receipt/1", "this is no Portcullis receipt")
    proof: dict[str, Any] = receipt["proof"] if isinstance(receipt.get("proof"), dict) else {}
    keys = receipt.get("keys")
    _need(proof and isinstance(receipt.get("index"), int), "`proof` or `index` is missing")
    _need(trusted_key or (isinstance(keys, list) and keys and isinstance(keys[0], str)), "`keys` is missing")
    origin, size, root = signed_checkpoint(receipt.get("checkpoint"), trusted_key or receipt["keys"][0])
    leaf = _base64(receipt.get("leaf"), "leaf")
    digest = hashlib.sha256(b"\x00" + leaf).digest()
    _need(origin == receipt.get("log"), "the checkpoint is of another log")
    _need(digest == _base64(receipt.get("leaf_hash"), "leaf_hash"), "the event was changed: its hash differs")
    _need(isinstance(proof.get("hashes"), list) and len(proof["hashes"]) < 64, "`proof.hashes` is missing")  # noqa: PLR2004 - no tree is higher
    hashes = [_base64(value, "proof.hashes") for value in proof["hashes"]]
    _need(all(len(value) == _HASH_BYTES for value in [*hashes, root]), "a hash has the wrong length")
    _need(path_root(digest, receipt["index"], size, hashes) == root, "the audit path does not lead to the signed root")
    event = json.loads(leaf)
    _need(isinstance(event, dict) and event.get("origin") == origin, "the event is of another log")
    return dict(event)


def check_text(receipt: dict[str, Any], event: dict[str, Any], text: str) -> None:
    """Raise InvalidReceiptError unless `text` is what the event committed to."""
    salt = (receipt.get("opening") or {}).get("salt")
    committed = event.get("fields", {}).get("answer_commitment")
    _need(isinstance(salt, str) and isinstance(committed, str), "this receipt carries no commitment to an answer")
    actual = hmac.new(bytes.fromhex(str(salt)), text.encode(), hashlib.sha256).hexdigest()
    _need(hmac.compare_digest(actual, committed), "the text is not the answer on record")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="portcullis-verify", description="Check a Portcullis receipt offline.")
    parser.add_argument("file", type=Path, help="the receipt (JSON)")
    parser.add_argument("--key", help="trust only this verifier key (name+hex+base64)")
    parser.add_argument("--text", type=Path, help="file holding the answer's text, to be compared with the record")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        raw = options.file.read_bytes()
        _need(len(raw) <= _MAX_BYTES, "the file is too large for a receipt")
        receipt = json.loads(raw)
        event = verify_receipt(receipt, options.key)
        if options.text:
            check_text(receipt, event, options.text.read_text(encoding="utf-8"))
    except (InvalidReceiptError, ValueError, OSError, RecursionError, KeyError, TypeError, AttributeError) as error:
        _say(options.json, {"holds": False, "problem": str(error)}, f"DOES NOT HOLD: {error}")
        return 1
    trust = "the key you gave" if options.key else "the key inside the receipt; compare it with /v1/audit/keys"
    summary = f"HOLDS: {event['type']} at {event['recorded_at']}, entry {receipt['index']} of {receipt['log']}, signed by {trust}."
    _say(options.json, {"holds": True, "event": event, "index": receipt["index"], "log": receipt["log"]}, summary)
    return 0


def _say(as_json: object, value: dict[str, Any], sentence: str) -> None:
    sys.stdout.write((json.dumps(value, sort_keys=True) if as_json else sentence) + "\n")


if __name__ == "__main__":
    sys.exit(main())
