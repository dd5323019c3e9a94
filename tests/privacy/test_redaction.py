"""Redaction profiles: what each shows, and that a bad file is refused with its place named."""

from pathlib import Path

import pytest

from app.errors import PolicyInvalidError
from app.privacy.entities import DIRECT, KNOWN
from app.privacy.redaction import RedactionPolicy, load_redaction

FILE = Path(__file__).parents[2] / "policies" / "redaction.yaml"


@pytest.fixture(scope="module")
def policy() -> RedactionPolicy:
    """The file that ships."""
    return load_redaction(FILE)


@pytest.mark.parametrize("profile", ["strict", "standard", "published", "unheard of"])
@pytest.mark.parametrize("may_read_pii", [True, False])
def test_secrets_are_shown_to_nobody(policy: RedactionPolicy, profile: str, *, may_read_pii: bool) -> None:
    assert "SECRET" not in policy.visible_types(profile, may_read_pii=may_read_pii)


def test_standard_hides_every_direct_identifier_without_the_right(policy: RedactionPolicy) -> None:
    assert policy.visible_types("standard", may_read_pii=False) & DIRECT == set()


def test_standard_shows_what_the_work_is_about(policy: RedactionPolicy) -> None:
    assert {"ORGANIZATION", "LOCATION", "DATE_TIME", "URL"} <= policy.visible_types("standard", may_read_pii=False)
    assert "ADDRESS" not in policy.visible_types("standard", may_read_pii=False)


def test_the_right_opens_everything_but_secrets(policy: RedactionPolicy) -> None:
    for profile in policy.profiles:
        assert policy.visible_types(profile, may_read_pii=True) == KNOWN - {"SECRET"}


def test_published_shows_people_and_hides_numbers(policy: RedactionPolicy) -> None:
    shown = policy.visible_types("published", may_read_pii=False)
    assert {"PERSON", "EMAIL_ADDRESS", "PHONE_NUMBER", "LOCATION", "DATE_TIME", "AGE", "ORGANIZATION", "TITLE", "URL"} <= shown
    assert shown & {"CREDIT_CARD", "IBAN_CODE", "ID_NUMBER", "SECRET", "IP_ADDRESS"} == set()


def test_an_unknown_profile_is_the_strictest(policy: RedactionPolicy) -> None:
    assert policy.visible_types("standart", may_read_pii=False) == policy.visible_types("strict", may_read_pii=False) == frozenset()
    assert all(
        policy.visible_types("strict", may_read_pii=False) <= policy.visible_types(name, may_read_pii=False) for name in policy.profiles
    )


def test_a_policy_cannot_be_changed_after_loading(policy: RedactionPolicy) -> None:
    with pytest.raises(TypeError):
        policy.profiles["strict"] = policy.profiles["published"]


def test_digest_follows_the_bytes(tmp_path: Path, policy: RedactionPolicy) -> None:
    copy = tmp_path / "redaction.yaml"
    copy.write_bytes(FILE.read_bytes() + b"# changed\n")
    assert load_redaction(copy).digest != policy.digest


GOOD = "version: 1\nprofiles:\n  strict:\n    everyone: []\n    read_pii: [PERSON]\n    never: [SECRET]\n"
BAD = [
    ("", "line 1"),
    ("version: 1\nprofiles: {", "line 2"),
    ("version: 1\n", "line 1"),
    ("- a\n", "line 1"),
    (GOOD.replace("version: 1", "version: 2"), "line 1"),
    (GOOD.replace("strict", "standard"), "strict must exist"),
    (GOOD.replace("[PERSON]", "[PERSONS]"), "line 5"),
    (GOOD.replace("[PERSON]", "[PERSON, SECRET]"), "line 5"),
    (GOOD.replace("everyone: []", "everyone: [SECRET]"), "line 4"),
    (GOOD.replace("everyone: []", "everyone: [PERSON]"), "line 5"),
    (GOOD.replace("everyone: []", "everyone: PERSON"), "line 4"),
    (GOOD.replace("everyone: []", "everyone: [[PERSON]]"), "line 4"),
    (GOOD.replace("    everyone: []\n", ""), "line 4"),
    (GOOD + "    hidden: []\n", "line 4"),
    (GOOD + "  strict:\n    everyone: []\n    read_pii: []\n    never: []\n", "second time"),
    (GOOD + "extra: 1\n", "line 1"),
    (GOOD.replace("[PERSON]", "[!!python/object/apply:os.system [ls]]"), "line 5"),
]


@pytest.mark.parametrize(("content", "place"), BAD)
def test_a_malformed_file_is_refused_naming_file_and_line(tmp_path: Path, content: str, place: str) -> None:
    path = tmp_path / "redaction.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PolicyInvalidError) as caught:
        load_redaction(path)
    assert "redaction.yaml" in caught.value.detail
    assert place in caught.value.detail


def test_a_file_that_is_not_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "redaction.yaml"
    with pytest.raises(PolicyInvalidError):
        load_redaction(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PolicyInvalidError):
        load_redaction(path)
