"""Addresses of PostgreSQL: those that would send everything to whoever answers are refused, none is repeated with its password."""

import pytest

from app.errors import ConfigurationError
from app.storage.transaction import Database


@pytest.mark.parametrize("url", ["mysql://root@localhost/x", "postgresql://localhost:99999999999/x?nonsense=1", "nonsense"])
def test_an_address_that_is_none_is_refused_without_repeating_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="PORTCULLIS_DATABASE_URL") as refused:
        Database(url.replace("root", "root:hunter2"))
    assert "hunter2" not in refused.value.detail


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://g:hunter2@db.example/x", "sslmode=verify-full"),
        ("postgresql://g:hunter2@db.example/x?sslmode=require", "sslmode=verify-full"),
        ("postgresql://g:hunter2@127.0.0.1,10.0.0.7/x?sslmode=prefer", "sslmode=verify-full"),
        ("postgresql://g:hunter2@localhost/x?hostaddr=10.0.0.7", "sslmode=verify-full"),
        ("postgresql://g:hunter2@localhost/x?options=-c%20portcullis.tenant%3Drival", "options"),
    ],
)
def test_an_address_that_gives_everything_away_is_refused(url: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as refused:
        Database(url)
    assert "hunter2" not in refused.value.detail


@pytest.mark.parametrize("host", ["localhost", "127.0.0.9", "[::1]", "%2Fvar%2Frun%2Fpostgresql", "db1,db2", ""])
def test_an_address_on_this_machine_or_with_a_proof_of_the_other_one_is_taken(host: str) -> None:
    Database(f"postgresql://g@{host}/x" + ("?sslmode=verify-full" if "," in host else ""))
