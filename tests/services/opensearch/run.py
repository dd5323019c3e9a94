"""One server for all processes of a test run: started by the first that asks, gone with the run, even when that is killed."""

import json
import subprocess
import sys
import time
from pathlib import Path

from tests.services.opensearch.nodes import OpenSearchNodes

_supervisors: list[subprocess.Popen[bytes]] = []
"""Kept, as Python complains of a running program that nobody knows any more."""


def start_for_run(state: Path, run_pid: int) -> tuple[str, ...]:
    """Start a server that lives as long as process `run_pid`; returns its addresses. `state` is where it says that it is ready."""
    command = [sys.executable, "-m", "tests.services.opensearch.run", str(state), str(run_pid)]
    supervisor = subprocess.Popen(command, cwd=Path(__file__).parents[3], stdin=subprocess.DEVNULL, start_new_session=True)
    _supervisors.append(supervisor)
    while not state.exists():
        if supervisor.poll() is not None:
            message = "OpenSearch did not start: its words stand above"
            raise RuntimeError(message)
        time.sleep(0.05)
    return tuple(json.loads(state.read_text(encoding="utf-8")))


def _supervise(state: Path, run_pid: int) -> None:
    cluster = OpenSearchNodes.make()
    try:
        cluster.start()
        fresh = state.with_suffix(".next")
        fresh.write_text(json.dumps(cluster.urls), encoding="utf-8")
        fresh.replace(state)
        while Path(f"/proc/{run_pid}").exists():
            time.sleep(0.5)
    finally:
        cluster.remove()


if __name__ == "__main__":
    _supervise(Path(sys.argv[1]), int(sys.argv[2]))
