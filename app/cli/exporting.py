"""Writes an export of the log to a file. It takes the place of an earlier one only when it is whole and begins with what that holds."""

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

import orjson

from app.errors import ConfigurationError

Rows = AsyncIterator[dict[str, Any]]


async def write_export(rows: Rows, out: Path) -> int:
    """Write one JSON object a line; returns how many. Raises ConfigurationError, with an earlier export as it was, when it cannot.

    After a restore the earlier export alone tells what happened since the backup: neither one cut off nor a shorter one may destroy it.
    """
    try:
        return await _written(rows, *_place(out))
    except OSError as error:
        message = f"{out} cannot be written: {error.strerror}. An export that was there before is as it was."
        raise ConfigurationError(message) from error


def _place(out: Path) -> tuple[Path, bool]:
    """Where a link leads, and whether that is a file, or will be: a pipe or a device holds nothing to keep and cannot be replaced."""
    is_file = out.is_file() or not out.exists()
    return out.resolve() if is_file else out, is_file


async def _written(rows: Rows, out: Path, is_file: bool) -> int:
    if not is_file:
        with out.open("wb") as stream:
            return await _copied(rows, stream, None)
    with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}.", suffix=".part", delete=False) as file:
        part = out.with_name(Path(file.name).name)
        try:
            count = await _copied(rows, file, _last_row(out))
            file.flush()
            os.fsync(file.fileno())
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)
    return count


async def _copied(rows: Rows, file: IO[bytes], earlier: tuple[int, str] | None) -> int:
    """Write all rows. Raises ConfigurationError when the last one of an earlier export is not among them where it was."""
    count, is_met = 0, earlier is None
    async for row in rows:
        file.write(orjson.dumps(row) + b"\n")
        count += 1
        is_met = is_met or (row["index"], row["leaf"]) == earlier
    if earlier is not None and not is_met:
        message = (
            f"The file holds {earlier[0] + 1} entries, and the log, of {count}, does not begin with them: it was cut or put back since, or "
            "the file is another log's. The file was not replaced: keep it, and name another one."
        )
        raise ConfigurationError(message)
    return count


def _last_row(path: Path) -> tuple[int, str] | None:
    """Index and leaf of the last whole row of an earlier export; `None` when there is none."""
    last = b""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                last = line if line.endswith(b"\n") else last
    try:
        row = orjson.loads(last)
        return int(row["index"]), str(row["leaf"])
    except (ValueError, KeyError, TypeError):
        return None
