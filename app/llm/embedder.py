"""The bundled sentence encoder: a folder of pinned files, run on onnxruntime inside this process, without a network.

Every text is run by itself. The int8 graph scales its activations over everything in one run, so in a batch a text's vector would depend
on its neighbours (cosines down to 0.98 were measured): a trace of one document, or of one person's question, in the vector of another.
Alone it also is as fast: 60 chunks of 200 tokens a second and core against 22 in padded batches of 32.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail, Fail, RuntimeException
from tokenizers import Tokenizer

from app.domain.search import Calibration, Matrix
from app.errors import ConfigurationError, UpstreamUnavailableError
from app.llm.conversion import MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE

_MEND = "run `make models`"
_SMALL_REQUEST = 4
"""Up to so many texts go to the query thread, so that a question never waits behind a document being ingested."""
_SLICE = 16
"""Texts handed to a worker at once; a cancelled request stops at the next slice."""
_CHARACTERS_PER_TOKEN = 64
"""Text beyond `max_tokens` times this is cut before it is tokenized: a megabyte on one line must not hold a worker."""


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What `model.json` says, checked."""

    name: str
    dim: int
    max_tokens: int
    digest: str
    background: float
    calibration: Calibration
    files: dict[str, bytes]


class LocalEmbedder:
    """Text to unit vectors with the model in `folder`. Implements the `Embedder` port; holds no text after a call."""

    def __init__(self, folder: Path, *, threads: int = 0) -> None:
        """Load and verify the model. `threads` bounds the workers for documents; 0 takes one per processor, at most four.

        Raises ConfigurationError when the folder is missing, a file differs from its hash in `model.json`, or the graph is of another kind.
        """
        manifest = _read_manifest(folder)
        self.name = manifest.name
        self.digest = manifest.digest
        self.dim = manifest.dim
        self.background = manifest.background
        self.calibration = manifest.calibration
        self._max_characters = manifest.max_tokens * _CHARACTERS_PER_TOKEN
        self._tokenizer = _load_tokenizer(manifest.files[TOKENIZER_FILE], manifest.max_tokens)
        self._session = _load_session(manifest.files[MODEL_FILE], manifest.dim)
        self._closed = False
        workers = threads or min(4, os.cpu_count() or 1)
        self._documents = ThreadPoolExecutor(workers, thread_name_prefix="embed-documents")
        self._questions = ThreadPoolExecutor(1, thread_name_prefix="embed-question")

    async def embed(self, texts: Sequence[str]) -> Matrix:
        """Give unit vectors, shape (len(texts), dim), in order. A text's vector depends on that text alone.

        Raises UpstreamUnavailableError when the runtime fails, for want of memory for example; words can then be searched without vectors.
        """
        vectors = np.zeros((len(texts), self.dim), np.float32)
        pool, size = (self._questions, _SMALL_REQUEST) if len(texts) <= _SMALL_REQUEST else (self._documents, _SLICE)
        # Slices of like length end together, so no worker idles while another finishes the long texts.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        slices = [order[start : start + size] for start in range(0, len(order), size)]
        if self._closed:
            message = "The embedding model is closed."
            raise UpstreamUnavailableError(message)
        loop = asyncio.get_running_loop()
        runs = [loop.run_in_executor(pool, self._run, [texts[place] for place in places]) for places in slices]
        for places, run in zip(slices, await asyncio.gather(*runs), strict=True):
            vectors[places] = run
        return vectors

    def known_words(self) -> frozenset[str]:
        """Lower-case words of the model's vocabulary: a dictionary that comes free, read from the model and from no document."""
        return frozenset(word for word in self._tokenizer.get_vocab() if word.isalpha() and word.islower())

    def close(self) -> None:
        """Stop the workers; texts already handed over are finished."""
        self._closed = True
        self._questions.shutdown(wait=True)
        self._documents.shutdown(wait=True, cancel_futures=True)

    def _run(self, texts: list[str]) -> Matrix:
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> Matrix:
        # The tokenizer refuses lone surrogates, which broken sources do hold.
        clean = text[: self._max_characters].encode("utf-8", "replace").decode("utf-8")
        ids = np.asarray([self._tokenizer.encode(clean).ids], np.int64)
        try:
            output = self._session.run(["embedding"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        except (RuntimeException, Fail, EPFail, MemoryError) as error:
            message = "The embedding model did not answer."
            raise UpstreamUnavailableError(message) from error
        return np.asarray(output[0][0], np.float32)


def _read_manifest(folder: Path) -> _Manifest:
    try:
        raw = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        hashes = {name: str(raw["sha256"][name]) for name in (MODEL_FILE, TOKENIZER_FILE)}
        if any(raw["prefixes"].values()):
            message = "The embedder wants different prefixes for questions and passages; this gateway embeds both alike."
            raise ConfigurationError(message)
        identity = json.dumps([hashes, raw["max_tokens"], raw["pooling"]], sort_keys=True)
        digest = hashlib.sha256(identity.encode("utf-8")).hexdigest()
        calibration = Calibration(**{key: float(value) for key, value in raw["calibration"].items()})
        numbers = int(raw["dim"]), int(raw["max_tokens"]), float(raw["background"])
        name = str(raw["name"])
    except OSError as error:
        message = f"The embedding model is not there: {_MEND}."
        raise ConfigurationError(message) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"The embedder's {MANIFEST_FILE} is not readable: {_MEND}."
        raise ConfigurationError(message) from error
    files = {file: _verified(folder / file, expected) for file, expected in hashes.items()}
    dim, max_tokens, background = numbers
    return _Manifest(name, dim, max_tokens, digest, background, calibration, files)


def _verified(path: Path, expected: str) -> bytes:
    """Read a file and compare its hash; the bytes that were hashed are the bytes that get loaded, so nobody swaps it in between."""
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"The embedding model lacks {path.name}: {_MEND}."
        raise ConfigurationError(message) from error
    if hashlib.sha256(content).hexdigest() != expected:
        message = f"The embedding model's {path.name} is not the one its {MANIFEST_FILE} names: {_MEND}."
        raise ConfigurationError(message)
    return content


def _load_tokenizer(content: bytes, max_tokens: int) -> Tokenizer:
    tokenizer = Tokenizer.from_str(content.decode("utf-8"))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer


def _load_session(content: bytes, dim: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # One thread a run: parallelism comes from the workers, and spinning would take the processor from searches.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    inputs, outputs = {item.name for item in session.get_inputs()}, {item.name: item.shape for item in session.get_outputs()}
    if inputs != {"input_ids", "attention_mask"} or list(outputs.get("embedding", ()))[1:] != [dim]:
        message = f"The embedding model's {MODEL_FILE} is of another kind: {_MEND}."
        raise ConfigurationError(message)
    return session
