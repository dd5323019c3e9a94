"""The parser process: `python -m app.ingest.parsers.worker`, started by `app.ingest.sandbox` and by nothing else.

It imports the parsers once and forks a child for each document, so that isolation is per document and costs a fork instead of
a start of Python. The child has limits on memory, CPU and files, no way to open a file or socket, and one pipe to answer on.
Frames on stdin and stdout: four bytes of length, big endian, then that many bytes; a request is a JSON frame and a content frame.
"""

import codecs
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import sys
import time
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from app.errors import PortcullisError
from app.ingest.parsers.detection import may_be_binary
from app.ingest.parsers.registry import parse
from app.ingest.parsers.wire import CRASHED, FRAME, LIMIT, MAX_RESULT_BYTES, OK, REFUSED, to_json

_READ_BYTES = 1 << 20
_CODECS = "utf-8 utf-16-le utf-16-be utf-32-le utf-32-be cp1252 iso-8859-15 cp437 ascii latin-1 idna mac_roman"
"""Loaded before the first fork: a child cannot open the files they come from."""


_PACKAGES = ("markdown_it", "yaml", "email", "html", "encodings")
_BINARY_PACKAGES, _BINARY_PARSERS = ("pypdf", "docx"), ("app.ingest.parsers.pdf", "app.ingest.parsers.docx")
"""Of documents that are no text: half of the time that a start takes, spent with the first one that may be such."""
_LATE_STANDARD = ("heapq", "locale", "selectors", "tempfile", "traceback", "unicodedata", "decimal", "quopri", "html.entities")
"""Standard modules that parsers or the library itself import inside functions (`Counter.most_common` wants heapq)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One document to parse and what it may cost."""

    content: bytes
    media_type: str | None
    file_name: str | None
    memory_bytes: int
    cpu_s: int
    wall_s: float


def main() -> None:
    """Serve requests until stdin ends. SIGTERM ends the child in hand first, so that none is left behind."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _preload()
    is_whole = False
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while (head := _read_frame(stdin)) is not None:
        content = _read_frame(stdin)
        if content is None:
            break
        if not is_whole and may_be_binary(content):
            is_whole = True
            for name in _BINARY_PARSERS:
                importlib.import_module(name)
            _preload_packages(_BINARY_PACKAGES)
        answer = _answer(Request(content, **json.loads(head)))
        stdout.write(FRAME.pack(len(answer)))
        stdout.write(answer)
        stdout.flush()


def _preload() -> None:
    """Import what parsers of text import late: after the fork there is no file to import from."""
    for name in _CODECS.split():
        codecs.lookup(name)
    for name in _LATE_STANDARD:
        importlib.import_module(name)
    _preload_packages(_PACKAGES)


def _preload_packages(names: tuple[str, ...]) -> None:
    """Import packages with all that is in them, pypdf above all, and keep all of it out of the collector's way in every child."""
    for name in names:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            with contextlib.suppress(ImportError):  # parts that need an optional library or another system
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


_child: list[int] = []
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
"""prctl(2): the child dies with its worker, however that one ended. Linux only, like the limits."""


def _stop(_signal: int, _frame: object) -> NoReturn:
    for pid in _child:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    os._exit(0)


def _read_frame(source: BinaryIO) -> bytes | None:
    head = source.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    (size,) = FRAME.unpack(head)
    body = source.read(size)
    return body if len(body) == size else None


def _answer(request: Request) -> bytes:
    """Fork, wait no longer than the request allows, and say what became of it."""
    read_end, write_end = os.pipe()
    # Blocked around the fork: a SIGTERM in between would end the worker and leave a child that nobody knows.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _run_child(request, write_end)
    _child.append(pid)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.close(write_end)
    answer = _collect(read_end, time.monotonic() + request.wall_s)
    os.close(read_end)
    with contextlib.suppress(ProcessLookupError):
        if answer is None:
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    _child.remove(pid)
    if answer is None:
        return LIMIT + b"time"
    if answer and os.WIFEXITED(status):
        return answer
    killed_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return LIMIT + b"processor time" if killed_by in {signal.SIGXCPU, signal.SIGKILL} else CRASHED


def _collect(read_end: int, deadline: float) -> bytes | None:
    """What the child writes until it closes the pipe, or `None` when it is late or says too much."""
    parts: list[bytes] = []
    size = 0
    while True:
        ready, _, _ = select.select([read_end], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        part = os.read(read_end, _READ_BYTES)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
        if size > MAX_RESULT_BYTES:
            return None


def _run_child(request: Request, write_end: int) -> NoReturn:
    """Parse under limits and leave. Nothing returns from here into the parent's loop."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (0, 1):
            os.close(number)
        _set_limits(request)
        _write(write_end, _parse(request))
    finally:
        os._exit(0)


def _set_limits(request: Request) -> None:
    """Memory and CPU as asked; no new descriptor of any kind (so no file and no socket), no file growth, no core dump."""
    for limit, value in (
        (resource.RLIMIT_AS, request.memory_bytes),
        (resource.RLIMIT_CPU, request.cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(limit, (value, value))


def _parse(request: Request) -> bytes:
    try:
        return OK + to_json(parse(request.content, request.media_type, request.file_name))
    except PortcullisError as error:
        return REFUSED + error.detail.encode("utf-8", errors="replace")
    except MemoryError:
        return LIMIT + b"memory"
    except Exception:  # noqa: BLE001 - a worker loop: a fault of any parser is a refused document, never a dead worker
        return CRASHED


def _write(target: int, answer: bytes) -> None:
    view = memoryview(answer)
    while view:
        view = view[os.write(target, view) :]


if __name__ == "__main__":
    main()
