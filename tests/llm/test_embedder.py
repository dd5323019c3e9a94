"""The bundled encoder with its real weights."""

import asyncio
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from app.errors import ConfigurationError, UpstreamUnavailableError
from app.llm.embedder import LocalEmbedder
from app.model_files import EMBEDDER

MODEL = Path(__file__).parent.parent.parent / "models" / EMBEDDER


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    if not MODEL.is_dir():
        reason = "models/embedder is not there: run `make models`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return LocalEmbedder(MODEL)


async def test_vectors_have_unit_length_and_keep_their_order(embedder: LocalEmbedder) -> None:
    texts = ["How long is parental leave?", "x", "Travel cards are issued by the finance office. " * 30, "x"]
    found = await embedder.embed(texts)
    assert found.shape == (4, embedder.dim)
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert (found[1] == found[3]).all()


async def test_a_vector_does_not_depend_on_what_is_embedded_beside_it(embedder: LocalEmbedder) -> None:
    """In a batch the int8 graph scales its activations over all texts: one person's question would leave a trace in another's."""
    text = "What is the limit for a hotel in Denver?"
    alone = (await embedder.embed([text]))[0]
    crowd = await embedder.embed([*[f"{n} Überstunden {'sehr ' * n}" for n in range(40)], text])
    assert (crowd[-1] == alone).all()


async def test_meaning_decides_and_unrelated_texts_stay_near_the_background(embedder: LocalEmbedder) -> None:
    question, answer, other = await embedder.embed(
        ["How many weeks of parental leave do I get?", "New parents may take twelve weeks off work.", "The router blinks twice at start."]
    )
    assert question @ answer > 0.45
    assert abs(float(question @ other) - embedder.background) < 0.15


async def test_hostile_texts_are_embedded_without_a_fault(embedder: LocalEmbedder) -> None:
    started = time.monotonic()
    found = await embedder.embed(["", "\x00", "lone \ud800", "a" * 1_000_000, " " * 1_000_000, "\u202e\u0301" * 5000])
    assert np.isfinite(found).all()
    assert time.monotonic() - started < 10


async def test_no_text_gives_no_vector(embedder: LocalEmbedder) -> None:
    assert (await embedder.embed([])).shape == (0, embedder.dim)


async def test_a_question_does_not_wait_for_a_document_being_embedded(embedder: LocalEmbedder) -> None:
    document = asyncio.create_task(embedder.embed(["A long passage about travel and leave. " * 25] * 400))
    await asyncio.sleep(0.05)
    await embedder.embed(["How long is parental leave?"])
    assert not document.done()
    document.cancel()
    with pytest.raises(asyncio.CancelledError):
        await document


async def test_known_words_are_english_words_of_the_model(embedder: LocalEmbedder) -> None:
    words = embedder.known_words()
    assert {"leave", "travel", "employment"} <= words
    assert "moonlihgt" not in words


async def test_a_closed_embedder_says_so_and_lets_words_be_searched_alone(embedder: LocalEmbedder) -> None:
    other = LocalEmbedder(MODEL, threads=1)
    assert other.digest == embedder.digest
    other.close()
    with pytest.raises(UpstreamUnavailableError):
        await other.embed(["leave"])


def test_a_missing_model_names_the_command_that_brings_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="make models"):
        LocalEmbedder(tmp_path / "none")


@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json"])
def test_a_changed_file_is_refused(embedder: LocalEmbedder, tmp_path: Path, file: str) -> None:
    assert embedder.digest
    folder = tmp_path / "embedder"
    shutil.copytree(MODEL, folder)
    with (folder / file).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(ConfigurationError, match="not the one"):
        LocalEmbedder(folder)
    (folder / file).unlink()
    with pytest.raises(ConfigurationError, match="lacks"):
        LocalEmbedder(folder)


@pytest.mark.parametrize("change", [{"sha256": {}}, {"dim": 7}, {"prefixes": {"query": "query: "}}, {"calibration": {"slope": "x"}}])
def test_a_manifest_that_does_not_fit_is_refused(embedder: LocalEmbedder, tmp_path: Path, change: dict[str, object]) -> None:
    assert embedder.digest
    folder = tmp_path / "embedder"
    shutil.copytree(MODEL, folder)
    manifest = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(manifest | change))
    with pytest.raises(ConfigurationError):
        LocalEmbedder(folder)


def test_other_files_give_another_digest(embedder: LocalEmbedder, tmp_path: Path) -> None:
    folder = tmp_path / "embedder"
    shutil.copytree(MODEL, folder)
    manifest = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(manifest | {"max_tokens": 128}))
    assert LocalEmbedder(folder).digest != embedder.digest
