"""A policy folder as Kubernetes mounts a ConfigMap: each file a link into a hidden folder that changes with every version."""

from pathlib import Path

from app.policy.bundle import digest_of, read_folder
from app.wiring.services import PolicyWatch, Services
from tests.conftest import ROOT, Gateway

columns = ("company",)


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


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


async def in_force(services: Services) -> str:
    async with services.database.read() as tx:
        return (await services.policy.current(tx, services.tenant)).digest


async def test_whoever_takes_over_does_not_undo_what_was_put_in_force_by_hand(gateway: Gateway, tmp_path: Path) -> None:
    """A follower knew the folder of its start only: as leader it took a change of long ago for a new one, and opened what was shut."""
    leader, follower = gateway.replicas
    base = {name: text for name, text in read_folder(ROOT / "policies").items() if not name.startswith("cases/")}
    write(tmp_path, base)
    watches = [PolicyWatch(one.activate, one.tenant, tmp_path, is_one_of_many=True) for one in (leader, follower)]
    for one in watches:
        await one.look()
    write(tmp_path, {"rules.csv": base["rules.csv"].rstrip() + "\n# reviewed\n"})
    await watches[0].look()
    await watches[1].check()
    shut = "".join(f"group:sample|all-employees,sample,*,*,{action},*,deny,Emergency\n" for action in ("search", "read"))
    await leader.activate.run(leader.tenant, {**base, "rules.csv": base["rules.csv"].rstrip() + "\n" + shut}, "user:administrator")
    digest = await in_force(leader)
    for one in watches:
        await one.look()
        assert await in_force(leader) == digest
    # What reaches its folder late was in force before, too; what never was is put in force.
    write(tmp_path, base)
    await watches[1].look()
    assert await in_force(leader) == digest
    write(tmp_path, {"rules.csv": base["rules.csv"].rstrip() + "\n# reviewed again\n"})
    await watches[1].look()
    assert await in_force(leader) == digest_of(
        {**base, "rules.csv": base["rules.csv"].rstrip() + "\n# reviewed again\n"}
    )
