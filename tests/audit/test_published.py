"""What was published last binds every signer; after an acknowledged loss it is the checkpoint of the log as it is then."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from app.audit.log import AuditLog
from app.audit.notes import open_checkpoint
from app.audit.signer import CheckpointSigner, RemoteSigner
from app.audit.verification import verify_log
from app.domain.audit import EventType
from app.errors import AuditUnavailableError, ConfigurationError
from app.govern.recovery import AcknowledgeRecovery
from app.settings import load_settings
from app.storage import audit_rows, tenant_rows
from app.wiring import resume_log
from tests.audit.conftest import TENANT, Evidence

LOG = "portcullis/sample"


async def grow(evidence: Evidence, *sizes: int) -> None:
    """Record up to each size and sign there."""
    for size in sizes:
        await evidence.log.record(*(evidence.event(n=n) for n in range(size - (await evidence.log.tree(TENANT)).size)))
        await evidence.log.checkpoint(TENANT)


def cut(evidence: Evidence, size: int) -> None:
    """Lose entries, while the checkpoints over them stay."""
    where = f"WHERE first + count = {size}" if evidence.store.is_postgres else f'WHERE "first" + "count" = {size}'
    chain = evidence.store.column(f"SELECT chain FROM audit_block {where}")[0]  # noqa: S608 - our own numbers
    value = f"decode('{bytes(chain).hex()}', 'hex')" if evidence.store.is_postgres else f"x'{bytes(chain).hex()}'"  # type: ignore[call-overload]  # a column of bytes
    evidence.store.meddle(
        f"DELETE FROM audit_event WHERE idx >= {size}",  # noqa: S608 - as above
        f"DELETE FROM audit_ref WHERE idx >= {size}",  # noqa: S608 - as above
        f"DELETE FROM audit_block WHERE first >= {size}",  # noqa: S608 - as above
        f"UPDATE audit_head SET size={size}, chain={value}",  # noqa: S608 - as above
    )


async def standstill(evidence: Evidence) -> str | None:
    async with evidence.database.read() as tx:
        return await tenant_rows.standstill(tx, TENANT)


async def newest(evidence: Evidence) -> str:
    async with evidence.database.read() as tx:
        latest = await audit_rows.latest_checkpoint(tx, LOG)
    assert latest is not None
    return latest[1]


async def resume(evidence: Evidence, signer: CheckpointSigner, *, is_another_signer: bool = False) -> tuple[int, int]:
    async with evidence.store.opened("deployer") as owner:
        recovery = AcknowledgeRecovery(owner, AuditLog(owner, signer), signer)
        return await recovery.run(TENANT, "system:operator", "looked", is_another_signer=is_another_signer)


def gateway_of(evidence: Evidence, signer: CheckpointSigner) -> AuditLog:
    return AuditLog(evidence.database, RemoteSigner(signer.verifier_key(LOG)))


async def test_a_signer_with_a_key_of_its_own_signs_nothing_that_another_one_published(evidence: Evidence) -> None:
    """Started on an empty folder it made a key, remembered nothing, and signed whatever was left of the log."""
    await grow(evidence, 3, 6)
    cut(evidence, 3)
    stranger = CheckpointSigner(evidence.folder / "stranger")
    with pytest.raises(AuditUnavailableError, match="another key"):
        await AuditLog(evidence.database, stranger).checkpoint(TENANT)
    assert stranger.last_signed(LOG) is None
    assert await standstill(evidence)
    gateway = gateway_of(evidence, evidence.signer)
    with pytest.raises(AuditUnavailableError, match="officer"):
        await gateway.record(evidence.event())


@pytest.mark.parametrize("later", [0, 3, 5])
async def test_an_older_copy_of_the_signers_folder_is_held_to_what_was_published(evidence: Evidence, tmp_path: Path, later: int) -> None:
    """It remembers three entries; six were published under its key. A log of as many others had the old checkpoint for its own."""
    await grow(evidence, 3)
    shutil.copytree(evidence.folder / "signer", tmp_path / "older")
    await grow(evidence, 6)
    cut(evidence, 3)
    older = CheckpointSigner(tmp_path / "older")
    gateway = gateway_of(evidence, older)
    if later:
        await gateway.record(*(evidence.event(n=n + 100) for n in range(later)))
    with pytest.raises(AuditUnavailableError, match="differs from"):
        await AuditLog(evidence.database, older).checkpoint(TENANT)
    assert older.last_signed(LOG) == (3, (await evidence.reopened().tree(TENANT)).root(3))
    assert await standstill(evidence)


async def test_a_process_that_refused_at_its_start_stops_the_others_too(evidence: Evidence) -> None:
    """It knew, kept it to itself, and the gateways beside it went on: they cannot see what the signer remembers."""
    await grow(evidence, 3, 6)
    cut(evidence, 3)
    evidence.store.meddle("DELETE FROM audit_checkpoint WHERE size > 3")
    gateway, beside_signer = gateway_of(evidence, evidence.signer), evidence.reopened()
    await gateway.start(TENANT)
    await beside_signer.start(TENANT)
    with pytest.raises(AuditUnavailableError, match="officer"):
        await beside_signer.checkpoint(TENANT)
    with pytest.raises(AuditUnavailableError, match="officer"):
        await gateway.record(evidence.event())


async def test_after_a_resume_everybody_sees_the_checkpoint_of_the_log_as_it_is(evidence: Evidence) -> None:
    """The larger one over lost entries stayed the newest: no gateway started any more, and receipts were proved under nothing."""
    await grow(evidence, 3, 9)
    cut(evidence, 3)
    assert await resume(evidence, evidence.signer) == (3, 9)
    key = evidence.signer.verifier_key(LOG)
    assert open_checkpoint(await newest(evidence), key).size == 4
    gateway = gateway_of(evidence, evidence.signer)
    await gateway.start(TENANT)
    [entry] = await gateway.record(evidence.event())
    await evidence.reopened().checkpoint(TENANT)
    proof = await gateway.prove(TENANT, entry)
    assert open_checkpoint(proof.checkpoint, key).size == 5
    assert await gateway.checkpoint(TENANT) == proof.checkpoint
    report = await evidence.verify()
    assert (report.is_intact, report.checkpoint_size) == (True, 5), report.problems


async def test_a_log_that_is_resumed_is_signed_at_a_size_that_lost_entries_had(evidence: Evidence) -> None:
    """One checkpoint of a size was kept. With the next size taken none was published, no gateway started and so the log never grew."""
    await grow(evidence, 3, 4, 5, 7)
    cut(evidence, 3)
    assert await resume(evidence, evidence.signer) == (3, 7)
    checkpoint = open_checkpoint(await newest(evidence), evidence.signer.verifier_key(LOG))
    tree = await evidence.reopened().tree(TENANT)
    assert (checkpoint.size, checkpoint.root) == (4, tree.root())
    await gateway_of(evidence, evidence.signer).start(TENANT)
    assert (await evidence.verify()).is_intact


async def test_a_log_that_grows_back_to_a_size_that_was_lost_never_gets_the_lost_checkpoint(evidence: Evidence) -> None:
    await grow(evidence, 3, 6)
    lost = await newest(evidence)
    cut(evidence, 3)
    await resume(evidence, evidence.signer)
    key, log = evidence.signer.verifier_key(LOG), evidence.reopened()
    await log.record(evidence.event(), evidence.event())
    tree = await log.tree(TENANT)
    signed = [open_checkpoint(await log.checkpoint(TENANT), key) for _ in range(3)]
    assert {(one.size, one.root) for one in signed} == {(6, tree.root(6))}
    assert open_checkpoint(await newest(evidence), key).root == tree.root(6)
    assert await newest(evidence) != lost
    kept = (evidence.folder / "signer" / "checkpoints.txt").read_text(encoding="utf-8")
    assert kept.count("\n6\n") == 2, "signed again, what did not grow is not written again"
    gateway = gateway_of(evidence, evidence.signer)
    await gateway.start(TENANT)
    [entry] = await gateway.record(evidence.event())
    await log.checkpoint(TENANT)
    assert open_checkpoint((await gateway.prove(TENANT, entry)).checkpoint, key).size == 7
    assert (await evidence.verify()).is_intact


FORGED = """INSERT INTO audit_event SELECT log, {place}, 'evt_forged', 'audit.recovery.acknowledged', actor, outcome,
    '9999-01-01 00:00:00.000000', leaf, leaf_hash FROM audit_event WHERE idx = 0"""
EMPTIED = ("DELETE FROM audit_block", "DELETE FROM audit_ref", "DELETE FROM audit_head")


@pytest.mark.parametrize("place", [-1, 11])
async def test_a_row_outside_the_log_acknowledges_nothing(evidence: Evidence, place: int) -> None:
    """A gateway's login could put one there, dated 9999: no checkpoint counted any more, and a log rewritten whole was called whole."""
    await grow(evidence, 6)
    evidence.store.meddle(FORGED.format(place=place), "DELETE FROM audit_event WHERE idx BETWEEN 0 AND 5", *EMPTIED)
    await gateway_of(evidence, evidence.signer).record(*(evidence.event(n=n + 100) for n in range(6)))
    await _assert_rewritten(evidence)


@pytest.mark.parametrize("size", [0, 3])
async def test_an_acknowledgement_that_nobody_signed_takes_no_checkpoint_away(evidence: Evidence, size: int) -> None:
    """Whoever owns the database writes one into the log as well, right hashes and all: the signature over it is out of their reach."""
    await grow(evidence, 3, 6)
    if size:
        cut(evidence, size)
    else:
        evidence.store.meddle("DELETE FROM audit_event", *EMPTIED)
    forged = replace(evidence.event(), type=EventType.LOG_RESUMED)
    await gateway_of(evidence, evidence.signer).record(forged, *(evidence.event(n=n + 100) for n in range(6)))
    await _assert_rewritten(evidence)


async def _assert_rewritten(evidence: Evidence) -> None:
    """Whoever has the public key alone sees it: in a check of the log, and a gateway at its start."""
    report = await verify_log(evidence.database, TENANT, evidence.signer.verifier_key(LOG), None)
    assert "the checkpoint over 6 entries has another root: the log was rewritten" in report.problems
    gateway = gateway_of(evidence, evidence.signer)
    await gateway.start(TENANT)
    with pytest.raises(AuditUnavailableError, match="differs from"):
        await gateway.check(TENANT)


async def test_a_new_key_beside_the_old_memory_signs_once_an_operator_has_said_so(evidence: Evidence) -> None:
    await grow(evidence, 3)
    (evidence.folder / "signer" / "signing.key").unlink()
    signer = CheckpointSigner(evidence.folder / "signer")
    with pytest.raises(AuditUnavailableError, match="another key"):
        await AuditLog(evidence.database, signer).checkpoint(TENANT)
    assert await resume(evidence, signer) == (3, 3)
    gateway = gateway_of(evidence, signer)
    await gateway.start(TENANT)
    [entry] = await gateway.record(evidence.event())
    await AuditLog(evidence.database, signer).checkpoint(TENANT)
    assert open_checkpoint((await gateway.prove(TENANT, entry)).checkpoint, signer.verifier_key(LOG)).size == 5
    assert (await verify_log(evidence.database, TENANT, signer.verifier_key(LOG), signer.last_signed(LOG))).is_intact


async def test_without_the_signers_folder_nobody_lets_a_log_go_on(evidence: Evidence, tmp_path: Path) -> None:
    """Beside a folder that remembers nothing every log looks whole: `audit resume` in the wrong place opened a cut one."""
    await grow(evidence, 3, 6)
    cut(evidence, 3)
    with pytest.raises(AuditUnavailableError):
        await evidence.reopened().checkpoint(TENANT)
    with pytest.raises(ConfigurationError, match="signed last"):
        await resume_log(load_settings(data=tmp_path / "elsewhere", database_url=evidence.store.url("deployer")), "looked")
    assert not (tmp_path / "elsewhere").exists()
    stranger = CheckpointSigner(tmp_path / "stranger")
    with pytest.raises(ConfigurationError, match="signed last"):
        await resume(evidence, stranger)
    assert await standstill(evidence)
    assert await resume(evidence, stranger, is_another_signer=True) == (3, 6)
    assert await standstill(evidence) is None
    await gateway_of(evidence, stranger).start(TENANT)
    leaf = evidence.store.column("SELECT leaf FROM audit_event WHERE idx = 3")[0]
    assert b'"is_another_signer":true' in bytes(leaf)  # type: ignore[call-overload]  # a column of bytes


async def test_a_resume_that_is_cut_off_leaves_everything_stopped_and_goes_on_the_next_time(evidence: Evidence) -> None:
    """Records were taken before the signer had agreed: a gateway that knows the public key only would have answered in between."""

    class CutOff(CheckpointSigner):
        def accept(self, log: str, size: int, root: bytes) -> None:  # noqa: ARG002 - the signer's own words
            raise KeyboardInterrupt

    await grow(evidence, 3, 6)
    cut(evidence, 3)
    evidence.store.meddle("DELETE FROM audit_checkpoint WHERE size > 3")
    with pytest.raises(KeyboardInterrupt):
        await resume(evidence, CutOff(evidence.folder / "signer"))
    gateway = gateway_of(evidence, evidence.signer)
    await gateway.start(TENANT)
    with pytest.raises(AuditUnavailableError, match="audit resume once more"):
        await gateway.record(evidence.event())
    assert await resume(evidence, evidence.signer) == (4, 6)
    [entry] = await gateway.record(evidence.event())
    assert entry.index == 5
