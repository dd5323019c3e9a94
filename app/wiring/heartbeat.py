"""A sign of life of a process that answers no requests: a file whose time moves on for as long as the process does its rounds."""

import asyncio
from pathlib import Path

FILE = "alive"
_EVERY_S = 5.0


async def beat(folder: Path) -> None:
    """Touch `folder`/alive every five seconds until cancelled. A loop that hangs lets it grow old, and a supervisor acts."""
    while True:
        _touch(folder)
        await asyncio.sleep(_EVERY_S)


def _touch(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / FILE).touch(mode=0o600)
