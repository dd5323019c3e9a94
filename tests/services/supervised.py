"""Servers shared by all processes of a test run: started by the first that asks, gone with the run, even when that is killed."""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest


class Removable(Protocol):
    """A server that can be taken away with all it stored."""

    def remove(self) -> None:
        """Stop it and delete its folder."""


def run_folder(factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of the whole run, the same for all its processes."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def for_run(factory: pytest.TempPathFactory, module: str) -> Any:  # noqa: ANN401 - whatever the module's server tells, as JSON
    """What the server of `module` told when it was ready; the first caller of a run starts it. Raises RuntimeError when it does not."""
    root, name = run_folder(factory), module.rpartition(".")[2]
    run_pid = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = root / f"{name}.json"
        if not state.exists():
            command = [sys.executable, "-m", module, str(state), str(run_pid)]
            subprocess.run(command, cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, start_new_session=True, check=True)
            while not state.exists():
                time.sleep(0.05)
        told = json.loads(state.read_text(encoding="utf-8"))
    if "error" in told:
        raise RuntimeError(told["error"])
    return told["ready"]


def main(start: Callable[[], tuple[Removable, object]]) -> None:
    """What a server's module does when it is run: start, tell, and take the server away when the run is over."""
    state, run_pid = Path(sys.argv[1]), int(sys.argv[2])
    # Nobody's child: tests count the processes that they leave behind.
    if os.fork():
        return

    def tell(**words: object) -> None:
        fresh = state.with_suffix(".next")
        fresh.write_text(json.dumps(words), encoding="utf-8")
        fresh.replace(state)

    try:
        server, address = start()
    except Exception as error:  # noqa: BLE001 - whoever waits for the server is told
        tell(error=f"the server did not start: {error}")
        return
    try:
        tell(ready=address)
        while Path(f"/proc/{run_pid}").exists():
            time.sleep(0.5)
    finally:
        server.remove()
