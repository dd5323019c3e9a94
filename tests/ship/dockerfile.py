"""Reads a Dockerfile into instructions and carries out its build stages in a folder, where no container engine runs."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

_FLAG = re.compile(r"--([a-z-]+)(?:=(\S+))?\s+")
_PLACES = re.compile(r"(?<![\w.])/(?=(?:build|opt/portcullis)\b)")
_NOT_HERE = {"PIP_NO_CACHE_DIR", "UV_NO_CACHE"}
"""What keeps an image small only makes a test slow."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: its keyword, its flags by name, and the rest as written."""

    keyword: str
    flags: dict[str, list[str]]
    value: str


@dataclass
class Stage:
    """What stands between one FROM and the next."""

    name: str
    base: str
    steps: list[Instruction] = field(default_factory=list)

    def values(self, keyword: str) -> list[str]:
        """The values of every instruction of one kind."""
        return [one.value for one in self.steps if one.keyword == keyword]

    @property
    def environment(self) -> dict[str, str]:
        """What ENV and ARG with a default set, in their order."""
        pairs: dict[str, str] = {}
        for one in self.steps:
            if one.keyword in {"ENV", "ARG"}:
                pairs |= dict(re.findall(r'([A-Za-z_]\w*)=("[^"]*"|\S*)', one.value))
        return {name: value.strip('"') for name, value in pairs.items()}


def read(path: Path) -> tuple[dict[str, str], dict[str, Stage]]:
    """The arguments before the first FROM, and the stages by name in their order."""
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    for line in _logical_lines(path.read_text(encoding="utf-8")):
        one = _instruction(line)
        if one.keyword == "FROM":
            base, _, name = one.value.partition(" AS ")
            stages[name or str(len(stages))] = Stage(name, base)
        elif not stages:
            name, _, value = one.value.partition("=")
            arguments[name] = value
        else:
            list(stages.values())[-1].steps.append(one)
    return arguments, stages


def _logical_lines(text: str) -> list[str]:
    lines, pending = [], ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or (not line.strip() and not pending):
            continue
        pending += line.strip()
        if pending.endswith("\\"):
            pending = pending[:-1].rstrip() + " "
            continue
        lines.append(pending)
        pending = ""
    assert not pending, "the last instruction is not finished"
    return lines


def _instruction(line: str) -> Instruction:
    keyword, _, rest = line.partition(" ")
    flags: dict[str, list[str]] = {}
    while match := _FLAG.match(rest):
        flags.setdefault(match[1], []).append(match[2] or "")
        rest = rest[match.end() :]
    return Instruction(keyword, flags, rest.strip())


class Build:
    """Carries out stages under `root`, which stands for the root of their file systems; all stages share it."""

    def __init__(self, context: Path, root: Path, stages: dict[str, Stage]) -> None:
        self.context = context
        self.root = root
        self.stages = stages

    def run(self, name: str) -> None:
        """Carry out the steps of one stage, in their order."""
        stage = self.stages[name]
        folder = self._folder_of(stage.base) if stage.base in self.stages else self.root
        for one in stage.steps:
            if one.keyword == "WORKDIR":
                folder = self.place(one.value, folder)
                folder.mkdir(parents=True, exist_ok=True)
            elif one.keyword == "COPY":
                self._copy(one, folder)
            elif one.keyword == "RUN":
                self._shell(one.value, name, folder)

    def place(self, path: str, folder: Path) -> Path:
        """Where a path of the image lies here."""
        return self.root / path.lstrip("/") if path.startswith("/") else folder / path

    def environment(self, name: str) -> dict[str, str]:
        """What a step of a stage sees: the image's variables, and how this machine reaches its package registries."""
        stage = self.stages[name]
        inherited = self.environment(stage.base) if stage.base in self.stages else _registries()
        own = {key: value for key, value in stage.environment.items() if key not in _NOT_HERE}
        return {**inherited, **own}

    def _folder_of(self, name: str) -> Path:
        stage = self.stages[name]
        workdirs = stage.values("WORKDIR")
        if workdirs:
            return self.place(workdirs[-1], self.root)
        return self._folder_of(stage.base) if stage.base in self.stages else self.root

    def _copy(self, one: Instruction, folder: Path) -> None:
        *sources, target = one.value.split()
        origin = self.root if "from" in one.flags else self.context
        for source in sources:
            found = origin / source.lstrip("/")
            place = self.place(target, folder)
            if found.is_dir():
                shutil.copytree(found, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
            else:
                place = place / found.name if target.endswith("/") else place
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, place)

    def _shell(self, command: str, name: str, folder: Path) -> None:
        interpreter = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
        here = _PLACES.sub(lambda _: f"{self.root}/", command)
        here = re.sub(r"(?<![\w/.-])python(?= )", interpreter, here)
        done = subprocess.run(
            ["/bin/sh", "-eu", "-c", here], cwd=folder, env=self.environment(name), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{here}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def _registries() -> dict[str, str]:
    kept = ("PIP_", "UV_", "HTTP", "http", "NO_PROXY", "no_proxy", "SSL_", "XDG_")
    return {name: value for name, value in os.environ.items() if name.startswith(kept) or name in {"PATH", "HOME", "TMPDIR"}}
