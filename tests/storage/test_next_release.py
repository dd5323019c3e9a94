"""Two neighbouring releases on one schema: the older one starts where the newer one says that it may, and nowhere else."""

from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.storage import schema
from tests.conformance.stores import MIGRATIONS, STORES, Store
from tests.services.releases import HEAD, OLDEST, migrations_of_the_next_release

pytestmark = pytest.mark.parametrize("store", STORES, indirect=True)


def test_a_schema_that_only_adds_serves_the_release_before_it_too(store: Store, tmp_path: Path) -> None:
    newer, owner = migrations_of_the_next_release(tmp_path / "newer"), store.url("deployer")
    assert schema.upgrade(owner, newer) == (HEAD, "next")
    schema.check_current(store.url("gateway"), MIGRATIONS)
    schema.check_current(store.url("gateway"), newer)
    # Its own upgrade, which a roll-back runs first, changes nothing.
    assert schema.upgrade(owner, MIGRATIONS) == ("next", "next")
    assert store.column("SELECT oldest_build FROM schema_compatibility") == [HEAD]
    schema.downgrade(owner, newer, HEAD)
    schema.check_current(store.url("gateway"), MIGRATIONS)
    with pytest.raises(ConfigurationError, match="portcullis db upgrade"):
        schema.check_current(store.url("gateway"), newer)


def test_a_schema_that_does_not_say_so_is_refused_by_the_release_before_it(store: Store, tmp_path: Path) -> None:
    newer, owner = migrations_of_the_next_release(tmp_path / "newer", serves_this_one=False), store.url("deployer")
    schema.upgrade(owner, newer)
    assert store.column("SELECT oldest_build FROM schema_compatibility") == ["next"]
    for refused, url in ((schema.check_current, store.url("gateway")), (schema.upgrade, owner)):
        with pytest.raises(ConfigurationError, match=r"upgraded by a newer Portcullis\. Install that version again"):
            refused(url, MIGRATIONS)
    schema.downgrade(owner, newer, HEAD)
    assert store.column("SELECT oldest_build FROM schema_compatibility") == [OLDEST]
    schema.check_current(store.url("gateway"), MIGRATIONS)
