"""Parsers run apart: limits hold, a dead child is a refused document, nothing is left behind."""

import asyncio
import os
import resource
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.content import Block, BlockKind, ParsedDocument
from app.errors import LimitExceededError, UnsupportedContentError
from app.ingest.parsers.normalise import one_line
from app.ingest.parsers.registry import parse
from app.ingest.parsers.wire import MAX_CONTENT_BYTES, from_json, to_json
from app.ingest.sandbox import ParseLimits, ParserSandbox, parse_isolated
from examples.make_office_files import docx_bytes, pdf_bytes

SLOW = b"[" * 1_000_000
"""Markdown that keeps its parser busy for minutes."""
MIB = 1024 * 1024

asynchronous = pytest.mark.asyncio


def processes(parent: int | None = None) -> dict[int, list[int]]:
    """Live children of this process, and theirs."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (OSError, IndexError):
                continue
            found.setdefault(int(fields[1]), []).append(int(entry.name))
    mine = found.get(parent or os.getpid(), [])
    return {pid: found.get(pid, []) for pid in mine}


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie that waits for the machine's init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def child_at_work() -> int:
    """The process that parses now: a grandchild of this one."""
    for _ in range(500):
        grandchildren = [pid for children in processes().values() for pid in children]
        if grandchildren:
            return grandchildren[0]
        await asyncio.sleep(0.01)
    pytest.fail("no parser process appeared")


@asynchronous
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"# Title\n\ntext\n\n| a | b |\n| - | - |\n| 1 | 2 |\n", "x.md"),
        (b"<h1>T</h1><p>text", "x.html"),
        ("Grüße".encode("utf-8-sig"), "x.txt"),
        ("Grüße".encode("utf-16"), "x.txt"),
        (b"a,b\n1,2", "x.csv"),
        (b'{"a": [{"b": 1}]}', "x.json"),
        (pdf_bytes([(11, "Some text.")], "T"), "x.pdf"),
        (docx_bytes("# T\n\nText.\n\n| a | b |\n| 1 | 2 |"), "x.docx"),
    ],
)
async def test_the_child_gives_the_same_document_as_the_parser(content: bytes, name: str) -> None:
    assert await parse_isolated(content, None, name, ParseLimits()) == parse(content, None, name)


@asynchronous
async def test_a_refusal_keeps_its_sentence() -> None:
    with pytest.raises(UnsupportedContentError, match="PNG image"):
        await parse_isolated(b"\x89PNG\r\n\x1a\n", None, "x.png", ParseLimits())
    with pytest.raises(LimitExceededError):
        await parse_isolated(b"x" * (MAX_CONTENT_BYTES + 1), None, "x.txt", ParseLimits())


@asynchronous
@pytest.mark.parametrize(
    ("limits", "content", "name", "said"),
    [
        (ParseLimits(cpu_s=1), SLOW, "x.md", "limit on processor time"),
        (ParseLimits(wall_s=1.0), SLOW, "x.md", "limit on time"),
        (ParseLimits(memory_bytes=220 * MIB), b"word " * 6_000_000, "x.txt", "limit on memory"),
    ],
)
async def test_each_limit_refuses_the_document_in_time(limits: ParseLimits, content: bytes, name: str, said: str) -> None:
    started = time.monotonic()
    with pytest.raises(UnsupportedContentError, match=said):
        await parse_isolated(content, None, name, limits)
    assert time.monotonic() - started < 8
    assert not processes()


@asynchronous
@pytest.mark.parametrize("deadly", [signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
async def test_a_crashing_parser_is_a_refused_document_and_the_next_one_is_read(deadly: int) -> None:
    async with ParserSandbox(ParseLimits()) as sandbox:
        task = asyncio.create_task(sandbox.parse(SLOW, None, "x.md"))
        os.kill(await child_at_work(), deadly)
        with pytest.raises(UnsupportedContentError, match="failed on it"):
            await task
        assert (await sandbox.parse(b"after", None, "x.txt")).title == "after"


@asynchronous
async def test_a_lost_worker_takes_its_child_along_and_is_replaced() -> None:
    async with ParserSandbox(ParseLimits()) as sandbox:
        task = asyncio.create_task(sandbox.parse(SLOW, None, "x.md"))
        child = await child_at_work()
        worker = next(pid for pid, children in processes().items() if child in children)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(UnsupportedContentError, match="failed on it"):
            await task
        for _ in range(100):
            if not is_running(child):
                break
            await asyncio.sleep(0.02)
        assert not is_running(child), "a child must die with its worker"
        assert (await sandbox.parse(b"after", None, "x.txt")).title == "after"


@asynchronous
async def test_a_stopped_worker_is_taken_for_dead() -> None:
    async with ParserSandbox(ParseLimits(wall_s=-4.0)) as sandbox:
        with pytest.raises(UnsupportedContentError, match="limit on time"):
            await sandbox.parse(SLOW, None, "x.md")
    assert not processes()


@asynchronous
async def test_cancelling_ends_the_child_and_leaves_no_process() -> None:
    async with ParserSandbox(ParseLimits()) as sandbox:
        task = asyncio.create_task(sandbox.parse(SLOW, None, "x.md"))
        child = await child_at_work()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_running(child)
        assert not processes()
        assert (await sandbox.parse(b"after", None, "x.txt")).title == "after"
    assert not processes()


@asynchronous
async def test_the_child_holds_no_socket_no_file_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTCULLIS_TEST_SECRET", "hunter2")
    async with ParserSandbox(ParseLimits(wall_s=20)) as sandbox:
        task = asyncio.create_task(sandbox.parse(SLOW, None, "x.md"))
        child = await child_at_work()
        await asyncio.sleep(0.2)
        proc = Path(f"/proc/{child}")
        targets = sorted(str(fd.readlink()) for fd in (proc / "fd").iterdir())
        environment = (proc / "environ").read_bytes()
        limits = {
            number: resource.prlimit(child, number)[1] for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC)
        }
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert targets[0] == "/dev/null"
    assert [target.split(":")[0] for target in targets[1:]] == ["pipe"]
    assert b"hunter2" not in environment
    assert set(limits.values()) == {0}


@asynchronous
async def test_many_documents_share_few_processes() -> None:
    async with ParserSandbox(ParseLimits(), size=2) as sandbox:
        contents = [f"document {n}".encode() for n in range(40)]
        found = await asyncio.gather(*(sandbox.parse(content, None, "x.txt") for content in contents))
        assert [p.title for p in found] == [content.decode() for content in contents]
        assert len(processes()) == 2
    assert not processes()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(BlockKind), st.text(min_size=1), st.integers(0, 5), st.lists(st.text(min_size=1), max_size=3), st.integers(0, 9)
        ),
        min_size=1,
    )
)
def test_documents_pass_the_pipe_unchanged(entries: list[tuple[BlockKind, str, int, list[str], int]]) -> None:
    blocks = tuple(
        Block(kind, one_line(text) or "x", section, tuple(one_line(h) for h in path), indent)
        for kind, text, section, path, indent in entries
    )
    parsed = ParsedDocument("T", (*blocks, Block(BlockKind.ROW, "a |  | b", 0, (), 0, ("x", "", "z"))), "de", ("k",))
    assert from_json(to_json(parsed)) == parsed


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"title": 1}',
        b'{"title":"T","language":null,"keywords":[],"paths":[[]],"blocks":[]}',
        b'{"title":"T","language":null,"keywords":[],"paths":[[]],"blocks":[["evil","x",0,0,0,0]]}',
        b'{"title":"T","language":null,"keywords":[],"paths":[[]],"blocks":[["row","x",0,7,0,0]]}',
        b'{"title":"T","language":null,"keywords":[],"paths":[[]],"blocks":[["row","x",-1,0,0,0]]}',
        b'{"title":"T","language":null,"keywords":[],"paths":[[]],"blocks":[["row",{"a":1},0,0,0,0]]}',
        b'{"title":"T","language":null,"keywords":["%s"],"paths":[[]],"blocks":[["row","x",0,0,0,0]]}' % (b"k" * 2_001),
        b"[" * 100_000,
    ],
    ids=range(11),
)
def test_an_answer_no_parser_would_give_is_refused(payload: bytes) -> None:
    with pytest.raises(UnsupportedContentError):
        from_json(payload)


def test_an_answer_is_cleaned_again_before_it_is_believed() -> None:
    payload = '{"title":"T\\u202e","language":null,"keywords":[],"paths":[[]],"blocks":[["row","a\\u200bb\\ud800",0,0,0,0]]}'
    parsed = from_json(payload.encode())
    assert (parsed.title, parsed.blocks[0].text) == ("T", "ab\ufffd")
