"""Real OpenSearch nodes on loopback: one process each, data in a temporary folder, no container engine.

A cluster is stopped by the numbers of the processes it started, checked against their start times, never by a name.
"""

import base64
import json
import random
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.services.opensearch.jars import class_path, fetch, find_java, java_major, java_modules
from tests.services.opensearch.security import GATEWAY, make_certificates, secured_settings, write_security_files

_READY_WITHIN_S = 180.0
_STOPPED_WITHIN_S = 30.0
_LOG = """status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d{ISO8601}][%-5p][%c{1.}] [%node_name]%marker %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
"""


@dataclass(slots=True)
class Node:
    """One node and, while it runs, its process."""

    name: str
    http_port: int
    transport_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to a running node: KILL for a power cut, STOP for a hang, CONT to go on."""
        if self.process is not None and self.is_running:
            self.process.send_signal(number)
            if number == signal.SIGKILL:
                self.process.wait()


@dataclass(frozen=True, slots=True)
class OpenSearchNodes:
    """A cluster: `start` it, and `remove` it in the end. `passwords` by user is empty unless it is secured."""

    folder: Path
    java: Path
    jars: Path
    nodes: tuple[Node, ...]
    heap: str
    is_secured: bool
    is_brief: bool
    passwords: dict[str, str] = field(default_factory=dict)
    cluster_name: str = field(default_factory=lambda: f"test-{secrets.token_hex(4)}")

    @classmethod
    def make(cls, count: int = 1, *, heap: str = "512m", is_secured: bool = False, is_brief: bool = False) -> "OpenSearchNodes":
        """Prepare a cluster; one that `is_brief` starts sooner and never gets fast. Raises NotInstalledError without Java or Maven."""
        java = find_java()
        jars = fetch(java, is_secured=is_secured)
        ports = _free_ports(2 * count)
        nodes = tuple(Node(f"node-{n + 1}", ports[n], ports[count + n]) for n in range(count))
        folder = Path(tempfile.mkdtemp(prefix="opensearch-"))
        passwords = {name: secrets.token_urlsafe(18) for name in ("admin", GATEWAY)} if is_secured else {}
        made = cls(folder, java, jars, nodes, heap, is_secured, is_brief, passwords)
        if is_secured:
            make_certificates(folder / "certs", "gateway")
            write_security_files(folder / "security", java, jars, passwords["admin"])
        for node in nodes:
            made._configure(node)
        return made

    @property
    def urls(self) -> tuple[str, ...]:
        """Addresses of all nodes, running or not."""
        return tuple(f"{'https' if self.is_secured else 'http'}://127.0.0.1:{node.http_port}" for node in self.nodes)

    @property
    def authority(self) -> Path:
        """The authority's certificate."""
        return self.folder / "certs" / "ca.pem"

    def start(self, *nodes: Node) -> None:
        """Start nodes, all of them unless some are named, and wait until each sees the whole cluster. Raises RuntimeError with its log."""
        chosen = nodes or self.nodes
        try:
            for node in chosen:
                self._launch(node)
            for node in chosen:
                self._wait_for(node)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop what runs; data stays."""
        running = [node for node in self.nodes if node.is_running]
        for node in running:
            node.signal(signal.SIGCONT)
            node.signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOPPED_WITHIN_S
        for node in running:
            while node.is_running and time.monotonic() < deadline:
                time.sleep(0.05)
            node.signal(signal.SIGKILL)

    def remove(self) -> None:
        """Stop and delete the folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method: str, path: str, body: object = None, node: int = 0) -> Any:  # noqa: ANN401 - parsed JSON
        """One request as the administrator. Raises urllib.error.HTTPError for a refusal."""
        request = urllib.request.Request(self.urls[node] + path, method=method, headers={"Content-Type": "application/json"})  # noqa: S310 - our own address
        context = None
        if self.is_secured:
            context = ssl.create_default_context(cafile=str(self.authority))
            token = base64.b64encode(f"admin:{self.passwords['admin']}".encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(request, data, timeout=30, context=context) as answer:  # noqa: S310 - our own address
            return json.loads(answer.read() or b"null")

    def _configure(self, node: Node) -> None:
        home = self.folder / node.name
        (home / "config").mkdir(parents=True)
        (home / "tmp").mkdir()
        settings: dict[str, Any] = {
            "cluster.name": self.cluster_name,
            "node.name": node.name,
            "network.host": "127.0.0.1",
            "http.port": node.http_port,
            "transport.port": node.transport_port,
            "path.data": str(home / "data"),
            "path.logs": str(home),
            "path.repo": [str(self.folder / "repo")],
            "cluster.routing.allocation.disk.threshold_enabled": False,
            # In a small heap what the collector has not yet taken away counts as used: requests would be refused for nothing.
            "indices.breaker.total.use_real_memory": False,
            "discovery.type": "single-node",
        }
        if len(self.nodes) > 1:
            del settings["discovery.type"]
            settings["discovery.seed_hosts"] = [f"127.0.0.1:{one.transport_port}" for one in self.nodes]
            settings["cluster.initial_cluster_manager_nodes"] = [one.name for one in self.nodes]
        if self.is_secured:
            settings |= secured_settings()
            shutil.copytree(self.folder / "certs", home / "config" / "certs")
            shutil.copytree(self.folder / "security", home / "config" / "opensearch-security")
        text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())
        (home / "config" / "opensearch.yml").write_text(text, encoding="utf-8")
        (home / "config" / "log4j2.properties").write_text(_LOG, encoding="utf-8")

    def _launch(self, node: Node) -> None:
        home = self.folder / node.name
        options = [f"-Xms{self.heap}", f"-Xmx{self.heap}", "--enable-native-access=ALL-UNNAMED", f"-Djava.io.tmpdir={home / 'tmp'}"]
        options += ["-Dlog4j.shutdownHookEnabled=false", "-Dlog4j2.disable.jmx=true", "-Djna.nosys=true", "-Dio.netty.noUnsafe=true"]
        options += ["-Dio.netty.noKeySetOptimization=true", f"-XX:ErrorFile={home / 'hs_err.log'}"]
        if self.is_brief:
            # A node of a few minutes never earns back what the optimising compiler and a collector with threads of its own cost.
            options += ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        if "jdk.incubator.vector" in java_modules(self.java):
            options += ["--add-modules", "jdk.incubator.vector"]
        if java_major(self.java) >= 24:
            options.append("--sun-misc-unsafe-memory-access=allow")
        classes = class_path(self.jars, is_secured=self.is_secured)
        with (home / "node.log").open("ab") as log:
            node.process = subprocess.Popen(
                [self.java, *options, "-cp", classes, "OpenSearchNode", str(home)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home, start_new_session=True,
            )  # fmt: skip

    def _wait_for(self, node: Node) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        index = self.nodes.index(node)
        expected = sum(one.is_running for one in self.nodes)
        path = f"/_cluster/health?wait_for_nodes=>={expected}&wait_for_status=yellow&timeout=2s"
        while not self._answers(path, index):
            if not node.is_running or time.monotonic() > deadline:
                raise RuntimeError((self.folder / node.name / "node.log").read_text(encoding="utf-8", errors="replace")[-3000:])
            time.sleep(0.2)

    def _answers(self, path: str, index: int) -> bool:
        try:
            return not self.call("GET", path, node=index)["timed_out"]
        except (OSError, ValueError, urllib.error.HTTPError):
            return False


def _free_ports(count: int) -> list[int]:
    """Ports below the range that the kernel hands to outgoing connections."""
    held: list[socket.socket] = []
    try:
        while len(held) < count:
            probe = socket.socket()
            try:
                probe.bind(("127.0.0.1", random.randrange(20_000, 30_000)))
            except OSError:
                probe.close()
                continue
            held.append(probe)
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()
