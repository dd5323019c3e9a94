"""A policy folder as Kubernetes mounts a ConfigMap: each file a link into a hidden folder that changes with every version."""

from pathlib import Path

from app.policy.bundle import read_folder
from tests.conftest import ROOT


def test_a_mounted_config_map_is_read_like_the_folder_it_was_made_from(tmp_path: Path) -> None:
    """Its files were read twice, once under the hidden name, and its cases not at all."""
    wanted = read_folder(ROOT / "policies")
    version = tmp_path / "..2026_01_01_00_00_00.1"
    for name, text in wanted.items():
        (version / name).parent.mkdir(parents=True, exist_ok=True)
        (version / name).write_text(text, encoding="utf-8")
    (tmp_path / "..data").symlink_to(version.name)
    for name in {Path(one).parts[0] for one in wanted}:
        (tmp_path / name).symlink_to(f"..data/{name}")
    assert read_folder(tmp_path) == wanted
