"""Receipts: what a person keeps of a released answer or search, checkable without this gateway or a network."""

import base64
from typing import Any

from app.audit import envelope
from app.domain.audit import InclusionProof, LogEntry

FORMAT = "portcullis-receipt/1"


def build_receipt(receipt_id: str, entry: LogEntry, proof: InclusionProof, vkey: str, opening: dict[str, str] | None) -> dict[str, Any]:
    """A self-contained receipt as JSON.

    `leaf` are the logged bytes (standard base64). `event` repeats them parsed, for reading only; the verifier trusts the
    bytes. `opening` holds the salt that opens the commitments in the event, for the person who got the answer.
    """
    return {
        "format": FORMAT,
        "receipt_id": receipt_id,
        "log": entry.log,
        "index": entry.index,
        "leaf": base64.b64encode(entry.leaf).decode(),
        "leaf_hash": base64.b64encode(entry.leaf_hash).decode(),
        "proof": {
            "tree_size": proof.tree_size,
            "root_hash": base64.b64encode(proof.root_hash).decode(),
            "hashes": [base64.b64encode(value).decode() for value in proof.hashes],
        },
        "checkpoint": proof.checkpoint,
        "keys": [vkey],
        "event": envelope.parse(entry.leaf),
        "opening": opening,
    }
