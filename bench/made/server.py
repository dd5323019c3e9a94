"""A real server process on loopback for a measurement, its tokens and its metrics; ended by its own process object."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.made.company import ROOT

_START_WITHIN_S = 120.0
_LINE = re.compile(r"^(portcullis_\w+?)_(sum|count)\{(.*?)\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Served:
    """A server that is ready. `ready_s` is the time from starting the process to the first ok of /readyz."""

    host: str
    port: int
    pid: int
    ready_s: float


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(environment: Mapping[str, str], port: int) -> Iterator[Served]:
    """Run `portcullis serve` until the block ends. Raises RuntimeError when it does not get ready."""
    ready_environment = {**os.environ, **environment, "PORTCULLIS_PORT": str(port), "PORTCULLIS_LOG_LEVEL": "INFO"}
    command = [sys.executable, "-c", "from app.cli import main; main()", "serve"]
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=ready_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - our own server
    try:
        while not _is_ready(port):
            if process.poll() is not None or time.perf_counter() - started > _START_WITHIN_S:
                message = "the server did not get ready"
                raise RuntimeError(message)
            time.sleep(0.02)
        yield Served("127.0.0.1", port, process.pid, time.perf_counter() - started)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        response.read()
    except OSError:
        return False
    finally:
        connection.close()
    return response.status == http.HTTPStatus.OK


def search(connection: http.client.HTTPConnection, token: str, query: str, top_k: int = 10) -> dict[str, object]:
    """POST /v1/search over a kept connection; the parsed response. Raises RuntimeError for any other status than 200."""
    body = json.dumps({"query": query, "top_k": top_k})
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/search", body, headers)
    response = connection.getresponse()
    content = response.read()
    if response.status != http.HTTPStatus.OK:
        message = f"search answered {response.status}"
        raise RuntimeError(message)
    return dict(json.loads(content))


def metrics(connection: http.client.HTTPConnection) -> dict[tuple[str, str, str], float]:
    """Sums and counts of every histogram by (metric, labels, `sum` or `count`)."""
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    return {(name, labels, kind): float(value) for name, kind, labels, value in _LINE.findall(text)}


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MB of 2**20 bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]  # Linux always has the line


def processor_s(pid: int) -> float:
    """Processor time a process has used so far, all threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
