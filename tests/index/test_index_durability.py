"""The file under crashes, other processes, full disks and damage: served whole, or not at all and with an error."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests_index_samples import ACME, READER, chunk, facts

from app.domain.access import WholeTenant
from app.domain.content import DocumentId
from app.domain.search import ChunkVectors, GuardedText, IndexedChunk, IndexQuery
from app.errors import ConfigurationError, UpstreamUnavailableError
from app.index.embedded import EmbeddedIndex
from app.index.facts import decode_facts, encode_facts

ROOT = Path(__file__).parent.parent.parent
WRITER = """
import asyncio, sys
sys.path[:0] = sys.argv[2:4]
from pathlib import Path
from app.index.embedded import EmbeddedIndex
from tests_index_samples import chunk, facts

async def main():
    index = EmbeddedIndex(Path(sys.argv[1]))
    version = 1
    while True:
        for name in "abc":
            await index.put_version(facts(name), version, [chunk(name, f"leave v{version} part{n}", version, n) for n in range(20)])
            await index.make_live(name, version)
        print(version, flush=True)
        version += 1

asyncio.run(main())
"""


def start_writer(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), str(ROOT), str(Path(__file__).parent)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def bytes_under(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def found_versions(index: EmbeddedIndex) -> dict[str, list[int]]:
    found = await index.search(IndexQuery("leave", None, {}), READER)
    versions: dict[str, list[int]] = {}
    for item in found.items:
        versions.setdefault(item.document_id, []).append(item.version)
    return versions


async def test_a_reader_sees_another_process_write_whole_versions_only(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    index = EmbeddedIndex(path)
    writer = start_writer(path)
    try:
        highest, until = 0, time.monotonic() + 4
        while time.monotonic() < until:
            for versions in (await found_versions(index)).values():
                assert len(versions) == 20
                assert len(set(versions)) == 1
                highest = max(highest, versions[0])
        assert highest > 3
    finally:
        writer.kill()
        writer.communicate()
        index.close()


async def test_a_writer_killed_at_any_moment_leaves_a_file_that_serves_whole_versions(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    EmbeddedIndex(path).close()
    for round_number in range(6):
        writer = start_writer(path)
        assert writer.stdout is not None
        writer.stdout.readline()
        await asyncio.sleep(0.013 * round_number)
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
        index = EmbeddedIndex(path)
        for versions in (await found_versions(index)).values():
            assert len(versions) == 20
            assert len(set(versions)) == 1
        index.close()


async def test_a_repeat_heals_what_was_interrupted_between_its_steps(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    first = EmbeddedIndex(path)
    await first.put_version(facts("a"), 1, [chunk("a", "leave")])
    first.close()
    second = EmbeddedIndex(path)
    assert await found_versions(second) == {}
    await second.put_version(facts("a"), 1, [chunk("a", "leave")])
    await second.make_live(DocumentId("a"), 1)
    assert await found_versions(second) == {"a": [1]}
    second.close()


async def test_two_indexes_on_one_file_take_turns_writing_and_see_each_other(tmp_path: Path) -> None:
    one, other = EmbeddedIndex(tmp_path / "index.db"), EmbeddedIndex(tmp_path / "index.db")

    async def fill(index: EmbeddedIndex, prefix: str) -> None:
        for number in range(15):
            await index.put_version(facts(f"{prefix}{number}"), 1, [chunk(f"{prefix}{number}", "leave")])
            await index.make_live(DocumentId(f"{prefix}{number}"), 1)

    await asyncio.gather(fill(one, "a"), fill(other, "b"))
    assert len(await found_versions(one)) == len(await found_versions(other)) == 30
    await one.remove(ACME, DocumentId("b3"))
    assert len(await found_versions(other)) == 29
    one.close()
    other.close()


async def test_a_removed_document_leaves_no_word_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    index = EmbeddedIndex(path)
    secret = IndexedChunk(chunk("a", "").chunk_id, "Xanthippe", "quokkafarm ledger", "", (GuardedText("PERSON", "Zebulon"),))
    await index.put_version(facts("a"), 1, [secret])
    await index.make_live(DocumentId("a"), 1)
    await index.put_version(facts("b"), 1, [chunk("b", "leave")])
    await index.make_live(DocumentId("b"), 1)
    await index.remove(ACME, DocumentId("a"))
    index.close()
    left = bytes_under(tmp_path)
    for word in (b"xanthippe", b"quokkafarm", b"zebulon"):
        assert word not in left
    assert b"leave" in left


async def test_a_removed_word_leaves_the_vocabulary_in_memory_with_its_segment(tmp_path: Path) -> None:
    index = EmbeddedIndex(tmp_path / "index.db")
    for name, text in (("a", "quokkafarm"), ("b", "leave")):
        await index.put_version(facts(name), 1, [chunk(name, text)])
        await index.make_live(DocumentId(name), 1)
    await found_versions(index)
    await index.remove(ACME, DocumentId("a"))
    await found_versions(index)
    words = {word for part in index._mirror._snapshot.segments for word in part.segment.words}
    index.close()
    assert words == {"leave"}


async def test_a_locked_file_is_an_error_for_writers_and_no_obstacle_for_readers(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    index = EmbeddedIndex(path)
    index._writing.execute("PRAGMA busy_timeout=50")
    await index.put_version(facts("a"), 1, [chunk("a", "leave")])
    await index.make_live(DocumentId("a"), 1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(UpstreamUnavailableError):
        await index.remove(ACME, DocumentId("a"))
    assert await found_versions(index) == {"a": [1]}
    holder.execute("ROLLBACK")
    holder.close()
    await index.remove(ACME, DocumentId("a"))
    assert await found_versions(index) == {}
    index.close()


async def test_a_full_disk_refuses_the_version_and_keeps_serving_the_old_one(tmp_path: Path) -> None:
    index = EmbeddedIndex(tmp_path / "index.db")
    await index.put_version(facts("a"), 1, [chunk("a", "leave")])
    await index.make_live(DocumentId("a"), 1)
    pages = index._writing.execute("PRAGMA page_count").fetchone()[0]
    index._writing.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(UpstreamUnavailableError):
        await index.put_version(facts("a"), 2, [chunk("a", " ".join(f"word{n}" for n in range(20_000)), 2)])
    assert await found_versions(index) == {"a": [1]}
    index._writing.execute("PRAGMA max_page_count=1000000")
    await index.put_version(facts("a"), 2, [chunk("a", "leave", 2)])
    await index.make_live(DocumentId("a"), 2)
    assert await found_versions(index) == {"a": [2]}
    index.close()


async def test_a_damaged_file_is_an_error_and_never_a_shorter_list(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    path.write_bytes(b"this is not a database" * 1000)
    with pytest.raises(UpstreamUnavailableError):
        EmbeddedIndex(path)


async def test_a_file_of_another_schema_says_how_to_mend_it(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(ConfigurationError, match="re-index"):
        EmbeddedIndex(path)


async def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UpstreamUnavailableError):
        EmbeddedIndex(tmp_path / "file" / "index.db")


async def test_a_file_replaced_under_a_running_index_is_served_no_more(tmp_path: Path) -> None:
    """Open handles would go on serving the permissions of the removed file for ever."""
    path = tmp_path / "index.db"
    index = EmbeddedIndex(path)
    await index.check()
    other = EmbeddedIndex(tmp_path / "other.db")
    other.close()
    (tmp_path / "other.db").replace(path)
    with pytest.raises(UpstreamUnavailableError):
        await index.check()
    with pytest.raises(UpstreamUnavailableError):
        await index.remove(ACME, DocumentId("a"))
    index.close()


def test_the_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    EmbeddedIndex(tmp_path / "index.db").close()
    assert (tmp_path / "index.db").stat().st_mode & 0o077 == 0


async def test_a_closed_index_refuses(tmp_path: Path) -> None:
    index = EmbeddedIndex(tmp_path / "index.db")
    await index.check()
    index.close()
    with pytest.raises(UpstreamUnavailableError):
        await index.check()


@pytest.mark.parametrize(
    "damage",
    [
        '{"tenant":"acme"}',
        "not json",
        "null",
        "[]",
        encode_facts(facts("a")).replace('"sensitivity": 1', '"sensitivity": null'),
        encode_facts(facts("a")).replace('"sensitivity": 1', '"sensitivity": true'),
        encode_facts(facts("a")).replace('"sensitivity": 1', '"sensitivity": 4294967296'),
        encode_facts(facts("a")).replace('"deny": []', '"deny": [null]'),
        encode_facts(facts("a")).replace('"deny": []', '"deny": "user:i|clerk"'),
        encode_facts(facts("a")).replace('"acme"', '"other"'),
    ],
)
async def test_a_document_whose_facts_cannot_be_read_is_served_to_nobody(tmp_path: Path, damage: str) -> None:
    """A missing list of denied principals must not read as an empty one."""
    path = tmp_path / "index.db"
    index = EmbeddedIndex(path)
    for name in "ab":
        await index.put_version(facts(name), 1, [chunk(name, "leave")])
        await index.make_live(DocumentId(name), 1)
    index.close()
    decoded = decode_facts("a", damage)
    assert decoded is None or decoded.tenant != ACME
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE document SET facts=? WHERE document_id='a'", (damage,))
    connection.close()
    index = EmbeddedIndex(path)
    assert set(await found_versions(index)) == {"b"}
    whole = await index.search(IndexQuery("leave", None, {}), WholeTenant(ACME))
    assert {item.document_id for item in whole.items} == {"b"}
    await index.put_access(facts("a", acl_version=2))
    assert set(await found_versions(index)) == {"a", "b"}
    index.close()


async def test_many_small_commits_between_searches_keep_the_result_right_and_the_segments_few(tmp_path: Path) -> None:
    """Segments are merged and rewritten while documents come, change and go; the answer stays that of a fresh reading."""
    path = tmp_path / "index.db"
    index = EmbeddedIndex(path)
    rng = np.random.default_rng(3)
    for number in range(120):
        name, action = f"d{rng.integers(0, 25)}", rng.integers(0, 4)
        if action == 0:
            await index.remove(ACME, DocumentId(name))
        else:
            item = chunk(name, " ".join(rng.choice(["leave", "travel", "budget", "laptop"], 5)), number + 1)
            await index.put_version(facts(name, acl_version=number), number + 1, [item])
            rows = rng.normal(size=(3, 16)).astype(np.float32)
            if action > 1:
                await index.put_vectors(DocumentId(name), number + 1, [ChunkVectors(item.chunk_id, rows[0], rows[1:], rows[1:])], "m")
            await index.make_live(DocumentId(name), number + 1)
        query = IndexQuery("leave budget", rng.normal(size=16).astype(np.float32), {})
        found = await index.search(query, READER)
        if number % 10 == 9:
            fresh = EmbeddedIndex(path)
            assert repr(await fresh.search(query, READER)) == repr(found)
            fresh.close()
    assert len(index._mirror._snapshot.segments) <= 6
    index.close()


async def test_a_search_of_an_older_generation_never_mixes_with_a_newer_one(tmp_path: Path) -> None:
    """Eight askers while access changes: each answer is right for some moment between question and answer."""
    index = EmbeddedIndex(tmp_path / "index.db")
    for name in "abcdef":
        await index.put_version(facts(name), 1, [chunk(name, "leave")])
        await index.make_live(DocumentId(name), 1)
    shut = 0

    async def ask() -> None:
        for _ in range(40):
            before = shut
            found = {item.document_id for item in (await index.search(IndexQuery("leave", None, {}), READER)).items}
            # Documents are shut in alphabetical order, so what is open is always an end of the alphabet.
            assert any(found == set("abcdef"[number:]) for number in range(before, shut + 2))

    async def change() -> None:
        nonlocal shut
        for number, name in enumerate("abcdef"):
            await index.put_access(facts(name, sensitivity=3, acl_version=2))
            shut = number + 1
            await asyncio.sleep(0.02)

    await asyncio.gather(change(), *[ask() for _ in range(8)])
    assert await found_versions(index) == {}
    index.close()
