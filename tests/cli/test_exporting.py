"""What becomes of the export that stands in the place of a new one."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.cli.exporting import write_export
from app.errors import ConfigurationError


async def entries(*leaves: str, breaks: bool = False) -> AsyncIterator[dict[str, Any]]:
    for index, leaf in enumerate(leaves):
        yield {"index": index, "leaf": leaf}
    if breaks:
        raise OSError(28, "No space left on device")


def kept(file: Path) -> list[str]:
    assert [one.name for one in file.parent.iterdir()] == [file.name], "nothing else stays"
    return [orjson.loads(line)["leaf"] for line in file.read_bytes().splitlines()]


async def test_an_export_that_is_cut_off_leaves_the_earlier_one(tmp_path: Path) -> None:
    """It emptied the file first: 40 of 131 entries were left, and no other copy of those that a restored database lacks."""
    out = tmp_path / "log.ndjson"
    assert await write_export(entries("a", "b"), out) == 2
    with pytest.raises(ConfigurationError, match="No space left on device"):
        await write_export(entries("a", "b", "c", breaks=True), out)
    assert kept(out) == ["a", "b"]
    assert await write_export(entries("a", "b", "c"), out) == 3
    assert kept(out) == ["a", "b", "c"]


@pytest.mark.parametrize("now", [(), ("a",), ("a", "other", "c")])
async def test_an_export_never_takes_the_place_of_one_that_knows_more(tmp_path: Path, now: tuple[str, ...]) -> None:
    """After a restore the hourly export overwrote what tells of the time since the backup, also once the log had grown again."""
    out = tmp_path / "log.ndjson"
    await write_export(entries("a", "b"), out)
    with pytest.raises(ConfigurationError, match=r"holds 2 entries.*name another"):
        await write_export(entries(*now), out)
    assert kept(out) == ["a", "b"]


async def test_a_half_line_that_an_earlier_release_left_counts_for_nothing(tmp_path: Path) -> None:
    out = tmp_path / "log.ndjson"
    await write_export(entries("a", "b"), out)
    out.write_bytes(out.read_bytes()[:-5])
    assert await write_export(entries("a", "z"), out) == 2
    assert kept(out) == ["a", "z"]


async def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere/log.ndjson cannot be written: No such file or directory"):
        await write_export(entries("a"), tmp_path / "nowhere" / "log.ndjson")
    assert await write_export(entries("a"), Path(os.devnull)) == 1


async def test_a_pipe_behind_a_link_is_written_to() -> None:
    """What a shell puts for `| gzip` or `>(…)` names no file that is there."""
    read_end, write_end = os.pipe()
    assert await write_export(entries("a", "b"), Path(f"/dev/fd/{write_end}")) == 2
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        assert [orjson.loads(line)["leaf"] for line in pipe] == ["a", "b"]
