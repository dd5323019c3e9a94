"""The verifier that people run without us: it accepts what was recorded and nothing that was changed, and never crashes."""

import base64
import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings

from app.audit import verifier
from app.audit.digests import commitment, new_salt
from app.audit.receipts import build_receipt
from app.audit.signer import CheckpointSigner
from tests.audit.conftest import TENANT, Evidence
from tests.conftest import ROOT


async def _receipt(evidence: Evidence, text: str = "Sixteen weeks.") -> dict[str, Any]:
    salt = new_salt()
    await evidence.log.record(*(evidence.event(n=n) for n in range(6)))
    [entry] = await evidence.log.record(evidence.event(answer_commitment=commitment(salt, text)))
    proof = await evidence.log.prove(TENANT, entry)
    return build_receipt("rcp_1", entry, proof, evidence.log.verifier_key(TENANT), {"salt": salt})


def test_signatures_agree_with_a_well_kept_library() -> None:
    for number in range(20):
        key = Ed25519PrivateKey.generate()
        message = bytes([number]) * number
        public, signature = key.public_key().public_bytes_raw(), key.sign(message)
        assert verifier.ed25519_verifies(public, message, signature)
        assert not verifier.ed25519_verifies(public, message + b"x", signature)
        flipped = bytes([signature[0] ^ 1]) + signature[1:]
        assert not verifier.ed25519_verifies(public, message, flipped)
        grown = signature[:32] + (int.from_bytes(signature[32:], "little") + verifier._L).to_bytes(32, "little")
        assert not verifier.ed25519_verifies(public, message, grown), "a signature must have one form only (RFC 8032)"


async def test_a_receipt_holds_and_opens_its_answer(evidence: Evidence) -> None:
    receipt = await _receipt(evidence)
    event = verifier.verify_receipt(receipt, evidence.log.verifier_key(TENANT))
    assert event["type"] == "retrieval.executed"
    verifier.check_text(receipt, event, "Sixteen weeks.")
    with pytest.raises(verifier.InvalidReceiptError):
        verifier.check_text(receipt, event, "Twenty weeks.")


async def test_any_changed_part_breaks_it(evidence: Evidence) -> None:
    receipt = await _receipt(evidence)
    leaf = base64.b64decode(receipt["leaf"]).replace(b"engineer", b"somebody")
    changes: list[tuple[str, Any]] = [
        ("leaf", base64.b64encode(leaf).decode()),
        ("index", receipt["index"] - 1),
        ("log", "portcullis/other"),
        ("checkpoint", receipt["checkpoint"].replace("portcullis/sample", "portcullis/other")),
        ("checkpoint", receipt["checkpoint"].replace("\n7\n", "\n8\n")),
        ("keys", [evidence.log.verifier_key(TENANT).replace("portcullis/sample", "portcullis/other")]),
        ("proof", {**receipt["proof"], "hashes": receipt["proof"]["hashes"][:-1]}),
        ("proof", {**receipt["proof"], "hashes": receipt["proof"]["hashes"][::-1]}),
        ("format", "portcullis-receipt/2"),
    ]
    for name, value in changes:
        changed = {**copy.deepcopy(receipt), name: value}
        with pytest.raises(verifier.InvalidReceiptError):
            verifier.verify_receipt(changed)


async def test_another_key_is_not_trusted(evidence: Evidence, tmp_path: Path) -> None:
    receipt = await _receipt(evidence)
    stranger = CheckpointSigner(tmp_path / "stranger").verifier_key("portcullis/sample")
    with pytest.raises(verifier.InvalidReceiptError):
        verifier.verify_receipt(receipt, stranger)


async def test_it_runs_as_one_file_with_the_standard_library_alone(evidence: Evidence, tmp_path: Path) -> None:
    alone, file = tmp_path / "portcullis_verify.py", tmp_path / "receipt.json"
    alone.write_text((ROOT / "app/audit/verifier.py").read_text(encoding="utf-8"), encoding="utf-8")
    file.write_text(json.dumps(await _receipt(evidence)), encoding="utf-8")
    command = [sys.executable, "-I", "-S", str(alone), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("HOLDS")
    file.write_text("{}", encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["format", "log", "index", "leaf", "leaf_hash", "proof", "checkpoint", "keys"]), _JSON))
def test_nonsense_is_refused_without_a_crash(tmp_path: Path, changes: dict[str, Any]) -> None:
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps({"format": "portcullis-receipt/1", **changes}), encoding="utf-8")
    assert verifier.main([str(file), "--json"]) == 1
