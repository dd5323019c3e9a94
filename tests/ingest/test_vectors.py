"""What is hidden from a reader must not be told by nearness either: vectors hold no word that the collection's profile hides."""

import pytest

from app.answer.search import SearchRequest
from app.domain.search import SearchLimits
from app.ingest.analysis import texts_to_embed, values_to_mask
from app.ingest.jobs import Submission
from app.storage import document_rows
from app.wiring import Services
from tests.conftest import caller_as

CITIES = ("Cologne", "Hanover", "Leipzig")


async def taken_in(services: Services, name: str, text: str, file_name: str = "note.md") -> str:
    steward = await caller_as(services, "hr-partner")
    submission = Submission("hr", text.encode(), file_name, None, "Complaint", external_id=f"hr/{name}")
    document_id = (await services.submit.run(steward, submission)).document_id
    await services.worker.drain()
    return str(document_id)


async def embedded(services: Services, document_id: str) -> str:
    """Every text of which a vector was made."""
    async with services.database.read() as tx:
        shown = (await services.reconcile.rules.shown(tx, services.tenant))["hr"]
        version = await document_rows.get_version(tx, document_id, 1)
        chunks = await document_rows.version_chunks(tx, document_id, 1)
    assert version is not None
    values = values_to_mask(version, chunks, shown)
    return "\n".join(text for one in chunks for text in texts_to_embed(version.title, one.chunk, values))


async def profile(services: Services, name: str) -> None:
    await services.collections.update(await caller_as(services, "policy-steward"), "hr", {"redaction_profile": name})


async def test_nearness_tells_no_place_that_the_profile_hides(services: Services) -> None:
    """The true city stood out by its confidence, eight times of eight, to a reader who saw `[LOCATION hidden]`."""
    await profile(services, "strict")
    text = "Regarding the matter: the complaint was filed at the labour court in {} by the works council."
    twins = {city: await taken_in(services, city.lower(), text.format(city)) for city in CITIES}
    engineer = await caller_as(services, "engineer")
    for asked in CITIES:
        request = SearchRequest(f"the complaint was filed at the labour court in {asked}", SearchLimits(collections=("hr",)), 50)
        passages = (await services.search.run(engineer, request)).passages
        found = {one.document_id: one.confidence for one in passages}
        assert len({round(found[document], 6) for document in twins.values()}) == 1, asked
        assert not any(city in one.text for one in passages for city in CITIES if one.document_id in twins.values())


NAME = "Katharina Vogelsang"
LIST = f"# Team notes\n\n- {NAME}\n" + "\n".join(
    f"  - point {n}: reduced hours were agreed for this quarter because the workload of the whole group had become too high to carry on"
    for n in range(15)
)
TABLE = "unit;" + ";".join([NAME, *(f"topic {n}" for n in range(12))]) + "\n"
TABLE += "\n".join(f"unit {row};" + ";".join(f"value {row} {n} of the quarter" for n in range(13)) for row in range(40))


@pytest.mark.parametrize(("name", "text", "file_name"), [("list", LIST, "notes.md"), ("table", TABLE, "wide.csv")])
async def test_a_name_that_stands_above_a_chunk_is_in_none_of_its_vectors(services: Services, name: str, text: str, file_name: str) -> None:
    """Contexts of sentences come from the item or the head above, which may be in another chunk."""
    document_id = await taken_in(services, name, text, file_name)
    texts = await embedded(services, document_id)
    assert texts.count("\n") > 20
    assert "Vogelsang" not in texts
    assert "Katharina" not in texts


async def test_vectors_are_made_again_when_the_profile_changes(services: Services) -> None:
    await profile(services, "strict")
    await services.reconcile.run(services.tenant, repair=True)
    document_id = await taken_in(services, "profile", "The complaint was filed at the labour court in Cologne by the works council.")
    assert "Cologne" not in await embedded(services, document_id)
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right
    await profile(services, "standard")
    report = await services.reconcile.run(services.tenant, repair=True)
    assert document_id in report.without_vectors
    await services.worker.drain()
    assert "Cologne" in await embedded(services, document_id)
    assert (await services.reconcile.run(services.tenant, repair=False)).is_right
