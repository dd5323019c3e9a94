"""Runs parsers outside the gateway's process, with limits, and turns every way they can fail into a refused document.

A parser process is started ahead and forks a child for each document: measured here, a fork costs 3 ms, a fresh start of
Python with the parsers half a second. Content goes in and JSON comes out over pipes; no other descriptor and no
environment variable of the gateway is passed on.
"""

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import app
from app.domain.content import ParsedDocument
from app.errors import LimitExceededError, UnsupportedContentError, UpstreamUnavailableError
from app.ingest.parsers.normalise import one_line
from app.ingest.parsers.wire import CRASHED, FRAME, LIMIT, MAX_CONTENT_BYTES, MAX_RESULT_BYTES, OK, REFUSED, from_json

_GRACE_S = 5.0
"""The worker enforces the time limit itself; this much later the worker itself is taken for dead."""
_STOP_S = 2.0
_MAX_DETAIL_CHARS = 500


@dataclass(frozen=True, slots=True)
class ParseLimits:
    """What one document may cost. `memory_bytes` is address space (RLIMIT_AS), Python and parsers included: about 150 MiB."""

    memory_bytes: int = 2 * 1024**3
    cpu_s: int = 60
    wall_s: float = 120.0


class ParserSandbox:
    """`size` parser processes under one set of limits. Start and stop it with `async with`, or call `close`."""

    def __init__(self, limits: ParseLimits, size: int = 1) -> None:
        """Start nothing yet: the first document of each worker does."""
        self._limits = limits
        self._workers: asyncio.Queue[_Worker] = asyncio.Queue()
        self._all = [_Worker() for _ in range(size)]
        for worker in self._all:
            self._workers.put_nowait(worker)

    async def __aenter__(self) -> Self:
        """Enter; nothing is started yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all parser processes."""
        await self.close()

    async def parse(self, content: bytes, media_type: str | None, file_name: str | None) -> ParsedDocument:
        """Parse in a child process; waits for a free worker. Cancelling ends the child.

        Raises UnsupportedContentError when the document is refused, crashes its parser or meets a limit, LimitExceededError above
        50 MiB, and UpstreamUnavailableError when no parser process can be had.
        """
        if len(content) > MAX_CONTENT_BYTES:
            msg = "The file is larger than 50 MiB. Split it and upload the parts."
            raise LimitExceededError(msg, is_size=True)
        head = json.dumps({"media_type": media_type, "file_name": file_name, **asdict(self._limits)}).encode()
        worker = await self._workers.get()
        try:
            answer = await worker.ask(head, content, self._limits.wall_s + _GRACE_S)
        finally:
            self._workers.put_nowait(worker)
        return await _read(answer)

    async def close(self) -> None:
        """End all parser processes and wait until they are gone."""
        for worker in self._all:
            await worker.stop()


async def parse_isolated(content: bytes, media_type: str | None, file_name: str | None, limits: ParseLimits) -> ParsedDocument:
    """Parse one document in a process of its own, started for it. For single documents; many go through a `ParserSandbox`."""
    async with ParserSandbox(limits) as sandbox:
        return await sandbox.parse(content, media_type, file_name)


class _Worker:
    """One parser process, started when needed and again after it was lost."""

    def __init__(self) -> None:
        self._process: Process | None = None

    async def ask(self, head: bytes, content: bytes, timeout_s: float) -> bytes:
        """Send a request and await its answer. Whatever goes wrong, the process is ended: its pipe may hold half an answer."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(head, content)
        except TimeoutError:
            await self.stop()
            return LIMIT + b"time"
        except (asyncio.IncompleteReadError, ConnectionError):
            await self.stop()
            return CRASHED
        except BaseException:
            await asyncio.shield(self.stop())
            raise

    async def _exchange(self, head: bytes, content: bytes) -> bytes:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await _start()
        if process.stdin is None or process.stdout is None:
            raise ConnectionResetError
        for frame in (head, content):
            process.stdin.write(FRAME.pack(len(frame)))
            process.stdin.write(frame)
        await process.stdin.drain()
        (size,) = FRAME.unpack(await process.stdout.readexactly(FRAME.size))
        if size > MAX_RESULT_BYTES + 1:
            raise ConnectionResetError
        return await process.stdout.readexactly(size)

    async def stop(self) -> None:
        """Ask the process to end its child and itself, then insist."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        # `wait` also waits for the pipes to close, which a grandchild can hold open: so it is never awaited without end.
        for end in (process.terminate, process.kill):
            with contextlib.suppress(ProcessLookupError):
                end()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await process.wait()
                return


async def _start() -> Process:
    """A parser process with an empty environment, in the root folder, in a session of its own."""
    environment = {"PYTHONPATH": str(Path(app.__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"}
    command = (sys.executable, "-P", "-s", "-m", "app.ingest.parsers.worker")
    try:
        return await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environment, cwd="/", start_new_session=True, close_fds=True
        )
    except OSError as error:
        msg = "No parser process could be started."
        raise UpstreamUnavailableError(msg) from error


async def _read(answer: bytes) -> ParsedDocument:
    kind, rest = answer[:1], answer[1:]
    if kind == OK:
        return await asyncio.to_thread(from_json, rest)
    if kind == REFUSED:
        raise UnsupportedContentError(one_line(rest.decode("utf-8", errors="replace"))[:_MAX_DETAIL_CHARS])
    if kind == LIMIT:
        what = one_line(rest.decode("ascii", errors="replace"))[:40]
        msg = f"Reading the document met the limit on {what}. Split or simplify it and upload it again."
        raise UnsupportedContentError(msg)
    msg = "The document could not be read: its parser failed on it. Save it again with the program it was made with, or as PDF."
    raise UnsupportedContentError(msg)
