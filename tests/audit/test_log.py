"""The log: what it promises on commit, and what its verification finds when somebody meddles."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from app.audit.log import AuditLog
from app.audit.merkle import leaf_hash, verify_inclusion
from app.audit.notes import open_checkpoint
from app.audit.signer import CheckpointSigner, RemoteSigner
from app.domain.audit import EventId, Reference
from app.errors import AuditUnavailableError, ConfigurationError, InvalidInputError, NotFoundError
from app.govern.recovery import AcknowledgeRecovery
from app.govern.trail import row_of
from app.storage.audit_rows import EventQuery
from tests.audit.conftest import TENANT, Evidence
from tests.conftest import ROOT

PLANT = """INSERT INTO audit_event SELECT log, {}, 'evt_forged', type, actor, outcome, recorded_at, leaf, leaf_hash
    FROM audit_event WHERE idx = 3"""
"""A copy of an entry at another place."""


async def test_entries_are_numbered_without_gap_whoever_writes_at_once(evidence: Evidence) -> None:
    written = await asyncio.gather(*(evidence.log.record(evidence.event(n=n), evidence.event(n=n)) for n in range(200)))
    indexes = [entry.index for entries in written for entry in entries]
    assert sorted(indexes) == list(range(400))
    assert all(second.index == first.index + 1 for first, second in written)
    assert (await evidence.verify()).is_intact


async def test_two_writers_share_one_log(evidence: Evidence) -> None:
    other = evidence.reopened()
    await other.start(TENANT)
    written = await asyncio.gather(*(log.record(evidence.event()) for _ in range(50) for log in (evidence.log, other)))
    assert sorted(entry.index for entries in written for entry in entries) == list(range(100))
    assert (await evidence.verify()).is_intact


async def test_every_entry_is_proved_under_a_signed_checkpoint(evidence: Evidence) -> None:
    entries = await evidence.log.record(*(evidence.event(n=n) for n in range(13)))
    for entry in entries:
        proof = await evidence.log.prove(TENANT, entry)
        checkpoint = open_checkpoint(proof.checkpoint, evidence.log.verifier_key(TENANT))
        assert verify_inclusion(leaf_hash(entry.leaf), entry.index, checkpoint.size, proof.hashes) == checkpoint.root


async def test_no_commit_is_reported_as_no_record(evidence: Evidence) -> None:
    with evidence.store.blocked(), pytest.raises(AuditUnavailableError):
        await evidence.log.record(evidence.event())
    [entry] = await evidence.log.record(evidence.event())
    assert (await evidence.verify()).is_intact
    assert entry.index <= 1


async def test_records_of_odd_text_are_stored_together_as_they_are(evidence: Evidence) -> None:
    """On PostgreSQL a batch goes in as arrays, in which a comma, a brace or the word NULL means something."""
    odd = ("", "NULL", "{a,b}", 'a"b', "a\\b", "a\x00b", ":log", "%s", "\U0001f512", "x" * 400 + "a", "x" * 400 + "b")
    references = tuple(Reference("document", one) for one in odd)
    events = [replace(evidence.event(n=n), references=references if n % 2 else ()) for n in range(8)]
    written = await evidence.log.record(*events)
    assert (await evidence.verify()).is_intact
    for one in odd:
        async with evidence.database.read() as tx:
            found = await evidence.log.search(tx, TENANT, EventQuery(references=(Reference("document", one[:400]),)))
        assert [entry.index for entry in found] == [entry.index for entry in reversed(written[1::2])], one


async def test_a_record_that_cannot_be_stored_takes_no_other_with_it(evidence: Evidence) -> None:
    """Records of many requests are committed together: one bad value failed them all."""
    known = evidence.event()
    await evidence.log.record(known)
    bad = [known, evidence.event(note="a \ud800 b"), evidence.event(note="\udfff")]
    good = [evidence.event(n=n) for n in range(5)]
    done = await asyncio.gather(*map(evidence.log.record, [good[0], bad[0], good[1], bad[1], *good[2:], bad[2]]), return_exceptions=True)
    assert [isinstance(one, AuditUnavailableError) for one in done] == [False, True, False, True, False, False, False, True]
    written = sorted(one[0].index for one in done if isinstance(one, list))
    assert written == list(range(1, 6))
    assert (await evidence.verify()).is_intact


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE audit_event SET leaf = CAST(replace(leaf, 'engineer', 'somebody') AS BLOB) WHERE idx = 3", "entry 3"),
        ("UPDATE audit_event SET actor = 'somebody' WHERE idx = 3", "entry 3: column actor"),
        ("UPDATE audit_event SET outcome = 'deny' WHERE idx = 4", "entry 4: column outcome"),
        ("DELETE FROM audit_event WHERE idx = 3", "entry 3 is missing"),
        ("UPDATE audit_event SET idx = CASE idx WHEN 3 THEN -4 WHEN 4 THEN -3 ELSE idx END", "missing"),
        ("DELETE FROM audit_ref WHERE idx = 5", "entry 5: reference"),
        ("INSERT INTO audit_ref VALUES ('portcullis/sample', 'document', 'doc_2', 5)", "entry 5: reference"),
        ("UPDATE audit_block SET root = zeroblob(32) WHERE first = 0", "block at 0"),
        ("UPDATE audit_head SET size = size + 1", "head"),
        ("DELETE FROM audit_event WHERE idx = 9", "block at"),
        ("UPDATE audit_event SET recorded_at = '2001-01-01 00:00:00.000000' WHERE idx = 3", "entry 3: column recorded_at"),
        (PLANT.format(-1), "rows of audit_event outside the 10 entries: 1"),
        (PLANT.format(11), "rows of audit_event outside the 10 entries: 1"),
        ("INSERT INTO audit_ref VALUES ('portcullis/sample', 'document', 'doc_2', -1)", "rows of audit_ref outside"),
        ("INSERT INTO audit_ref VALUES ('portcullis/sample', 'document', 'doc_2', 10)", "rows of audit_ref outside"),
        ("INSERT INTO audit_block SELECT log, -1, count, root, chain FROM audit_block WHERE first = 0", "rows of audit_block outside"),
    ],
)
async def test_meddling_is_named_with_its_place(evidence: Evidence, statement: str, named: str) -> None:
    for n in range(5):
        await evidence.log.record(evidence.event(n=n), evidence.event(n=n))
    await evidence.log.checkpoint(TENANT)
    evidence.store.meddle(statement)
    report = await evidence.verify()
    assert not report.is_intact
    assert any(named in problem for problem in report.problems), report.problems


@pytest.mark.parametrize("place", [-1, 11])
async def test_a_row_outside_the_log_is_shown_to_nobody(evidence: Evidence, place: int) -> None:
    """One before the first entry was listed to officers, and no check of the log read it."""
    written = await evidence.log.record(*(evidence.event(n=n) for n in range(10)))
    evidence.store.meddle(PLANT.format(place))
    async with evidence.database.read() as tx:
        assert await evidence.log.search(tx, TENANT, EventQuery()) == written[::-1]
        with pytest.raises(NotFoundError):
            await evidence.log.find(tx, TENANT, EventId("evt_forged"))


async def test_an_officer_is_shown_the_time_that_the_hash_covers(evidence: Evidence) -> None:
    """The column beside it was shown, and compared with nothing: an entry could be moved by years."""
    [entry] = await evidence.log.record(evidence.event())
    evidence.store.meddle("UPDATE audit_event SET recorded_at = '2001-01-01 00:00:00.000000'")
    async with evidence.database.read() as tx:
        [found] = await evidence.log.search(tx, TENANT, EventQuery())
    assert row_of(found).recorded_at == entry.recorded_at


async def test_a_rewrite_with_right_hashes_contradicts_the_signed_checkpoint(evidence: Evidence) -> None:
    """Whoever owns the database can recompute every hash in it; the signature is out of their reach."""
    await evidence.log.record(*(evidence.event(n=n) for n in range(4)))
    await evidence.log.checkpoint(TENANT)
    tables = ("DELETE FROM audit_event", "DELETE FROM audit_block", "DELETE FROM audit_ref", "DELETE FROM audit_head")
    evidence.store.meddle(*tables)
    forger = evidence.reopened()
    await forger.record(*(evidence.event(n=n + 100) for n in range(4)))
    report = await evidence.verify()
    assert any("another root" in problem for problem in report.problems)
    with pytest.raises(AuditUnavailableError):
        await forger.checkpoint(TENANT)


async def test_after_a_rollback_nothing_is_released_until_somebody_looked(evidence: Evidence) -> None:
    await evidence.log.record(*(evidence.event(n=n) for n in range(6)))
    await evidence.log.checkpoint(TENANT)
    evidence.store.meddle("DELETE FROM audit_event WHERE idx >= 3", "DELETE FROM audit_ref WHERE idx >= 3")
    restarted = evidence.reopened()
    await restarted.start(TENANT)
    with pytest.raises(AuditUnavailableError):
        await restarted.check(TENANT)
    with pytest.raises(AuditUnavailableError):
        await restarted.record(evidence.event())


async def test_a_signer_that_sees_a_cut_stops_every_gateway_until_somebody_has_looked(evidence: Evidence) -> None:
    """The gateways know the public key only: a database put back whole looks right to them."""
    await evidence.log.record(*(evidence.event(n=n) for n in range(3)))
    await evidence.log.checkpoint(TENANT)
    gateway = AuditLog(evidence.database, RemoteSigner(evidence.log.verifier_key(TENANT)))
    await evidence.log.record(*(evidence.event(n=n) for n in range(3)))
    await evidence.log.checkpoint(TENANT)
    cut = ("DELETE FROM audit_event WHERE idx >= 3", "DELETE FROM audit_ref WHERE idx >= 3", "DELETE FROM audit_block WHERE first >= 3")
    evidence.store.meddle(*cut, "DELETE FROM audit_checkpoint WHERE size > 3", "UPDATE audit_head SET size = 3")
    await gateway.start(TENANT)
    await gateway.check(TENANT)
    signer = CheckpointSigner(evidence.folder / "signer")
    with pytest.raises(AuditUnavailableError):
        await AuditLog(evidence.database, signer).checkpoint(TENANT)
    with pytest.raises(AuditUnavailableError, match="officer"):
        await gateway.record(evidence.event())
    recovered = AuditLog(evidence.database, signer)
    with pytest.raises(InvalidInputError):
        await AcknowledgeRecovery(evidence.database, recovered, signer).run(TENANT, "system:operator", " ")
    async with evidence.store.opened("deployer") as owner:
        flow = AcknowledgeRecovery(owner, AuditLog(owner, signer), signer)
        assert await flow.run(TENANT, "system:operator", "looked") == (3, 6)
    await recovered.start(TENANT)
    [entry] = await gateway.record(evidence.event())
    assert entry.index == 4
    await recovered.checkpoint(TENANT)


async def test_a_gateway_without_the_key_proves_what_the_signer_signed_and_waits_for_the_rest(evidence: Evidence) -> None:
    gateway = AuditLog(evidence.database, RemoteSigner(evidence.log.verifier_key(TENANT)))
    [entry] = await gateway.record(evidence.event())
    with pytest.raises(AuditUnavailableError, match="signer"):
        await gateway.prove(TENANT, entry)
    await evidence.log.checkpoint(TENANT)
    proof = await gateway.prove(TENANT, entry)
    checkpoint = open_checkpoint(proof.checkpoint, gateway.verifier_key(TENANT))
    assert verify_inclusion(leaf_hash(entry.leaf), entry.index, checkpoint.size, proof.hashes) == checkpoint.root
    stranger = AuditLog(evidence.database, RemoteSigner(CheckpointSigner(evidence.folder / "stranger").verifier_key("portcullis/sample")))
    await stranger.start(TENANT)
    with pytest.raises(AuditUnavailableError):
        await stranger.record(evidence.event())
    with pytest.raises(ConfigurationError, match="show-key"):
        AuditLog(evidence.database, RemoteSigner("other+00+00")).verifier_key(TENANT)


async def test_the_signer_never_signs_a_smaller_or_different_tree(evidence: Evidence) -> None:
    await evidence.log.record(evidence.event())
    first = open_checkpoint(await evidence.log.checkpoint(TENANT), evidence.log.verifier_key(TENANT))
    signer = CheckpointSigner(evidence.folder / "signer")
    with pytest.raises(AuditUnavailableError):
        signer.sign(type(first)(first.origin, 0, first.root))
    with pytest.raises(AuditUnavailableError):
        signer.sign(type(first)(first.origin, first.size, bytes(32)))


def test_the_signing_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    CheckpointSigner(tmp_path / "signer")
    assert (tmp_path / "signer" / "signing.key").stat().st_mode & 0o077 == 0


async def test_what_was_acknowledged_survives_a_kill(evidence: Evidence) -> None:
    """Twenty writers in another process, killed at a random moment: every acknowledged id is in the log, and the log holds."""
    program = textwrap.dedent("""
        import asyncio, sys
        from datetime import UTC, datetime
        from pathlib import Path
        from uuid_utils import uuid7
        from app.audit.log import AuditLog
        from app.audit.signer import CheckpointSigner
        from app.domain.audit import AuditEvent, EventType
        from app.storage.transaction import Database

        async def one(log):
            while True:
                event = AuditEvent(f"evt_{uuid7()}", EventType.RETRIEVAL_EXECUTED, "sample", "a", datetime.now(UTC), "allow")
                await log.record(event)
                print(event.event_id, flush=True)

        async def main(url, folder):
            log = AuditLog(Database(url, "sample"), CheckpointSigner(Path(folder) / "signer"))
            await asyncio.gather(*(one(log) for _ in range(20)))

        asyncio.run(main(*sys.argv[1:]))
    """)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, evidence.store.url(), str(evidence.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    with process:
        head = [process.stdout.readline() for _ in range(60)]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().splitlines()
    acknowledged = {line.decode().strip() for line in [*head, *rest] if line.strip()}
    report = await evidence.verify()
    assert report.is_intact, report.problems
    kept = set(evidence.store.column("SELECT event_id FROM audit_event"))
    whole = {event_id for event_id in acknowledged if len(event_id) == len("evt_") + 36}
    assert len(whole) >= 50
    assert whole <= kept
