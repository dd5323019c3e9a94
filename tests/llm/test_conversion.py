"""From upstream weights to the folder that is shipped."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from app.errors import ConfigurationError
from app.llm.bert_graph import BertShape, build_encoder
from app.llm.conversion import convert_embedder
from app.model_files import EMBEDDER, EMBEDDER_SOURCE, PINNED, fetch_models

MODELS = Path(__file__).parent.parent.parent / "models"
SHAPE = BertShape(layers=2, hidden=8, heads=2, epsilon=1e-12)


def tiny_weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    sizes = {"embeddings.word_embeddings.weight": (20, 8), "embeddings.position_embeddings.weight": (16, 8)}
    sizes |= {"embeddings.token_type_embeddings.weight": (2, 8), "embeddings.LayerNorm.weight": (8,), "embeddings.LayerNorm.bias": (8,)}
    for layer in range(2):
        key = f"encoder.layer.{layer}"
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            sizes |= {f"{key}.{part}.weight": (8, 8), f"{key}.{part}.bias": (8,)}
        sizes |= {f"{key}.intermediate.dense.weight": (16, 8), f"{key}.intermediate.dense.bias": (16,)}
        sizes |= {f"{key}.output.dense.weight": (8, 16), f"{key}.output.dense.bias": (8,)}
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            sizes |= {f"{key}.{part}.weight": (8,), f"{key}.{part}.bias": (8,)}
    return {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}


def reference(weights: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """BERT by the book, in numpy, for one text without padding."""

    def norm(rows: np.ndarray, key: str) -> np.ndarray:
        centred = rows - rows.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + SHAPE.epsilon)
        return scaled * weights[f"{key}.weight"] + weights[f"{key}.bias"]

    def linear(rows: np.ndarray, key: str) -> np.ndarray:
        return rows @ weights[f"{key}.weight"].T + weights[f"{key}.bias"]

    erf = np.vectorize(math.erf)
    rows = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][: len(ids)]
    rows = norm(rows + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(SHAPE.layers):
        key = f"encoder.layer.{layer}"
        query, keys, values = (linear(rows, f"{key}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = []
        for head in range(SHAPE.heads):
            place = slice(head * 4, head * 4 + 4)
            scores = query[:, place] @ keys[:, place].T / 2.0
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(shares / shares.sum(-1, keepdims=True) @ values[:, place])
        rows = norm(linear(np.concatenate(mixed, -1), f"{key}.attention.output.dense") + rows, f"{key}.attention.output.LayerNorm")
        inner = linear(rows, f"{key}.intermediate.dense")
        rows = norm(linear(inner * 0.5 * (1 + erf(inner / np.sqrt(2))), f"{key}.output.dense") + rows, f"{key}.output.LayerNorm")
    mean = rows.mean(0)
    return mean / np.linalg.norm(mean)


def test_the_graph_computes_what_the_paper_says() -> None:
    import onnxruntime  # noqa: PLC0415 - only this test runs a graph by hand

    weights = tiny_weights()
    session = onnxruntime.InferenceSession(build_encoder(weights, SHAPE).SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.asarray([[3, 7, 1, 19, 4, 0], [5, 2, 9, 0, 0, 0]], np.int64)
    mask = np.asarray([[1] * 6, [1, 1, 1, 0, 0, 0]], np.int64)
    found = session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]
    assert found[0] == pytest.approx(reference(weights, ids[0].tolist()), abs=1e-5)
    assert found[1] == pytest.approx(reference(weights, ids[1, :3].tolist()), abs=1e-5)


def test_conversion_gives_the_shipped_bytes_again(tmp_path: Path) -> None:
    source = fetch_models(tmp_path / "fetched", tuple(pin for pin in PINNED if pin.folder == EMBEDDER_SOURCE))[EMBEDDER_SOURCE]
    target = tmp_path / "made" / "embedder"
    target.parent.mkdir()
    convert_embedder(source, target)
    for name in ("model.onnx", "tokenizer.json", "model.json"):
        assert hashlib.sha256((target / name).read_bytes()).digest() == hashlib.sha256((MODELS / EMBEDDER / name).read_bytes()).digest()
    assert sorted(path.name for path in target.parent.iterdir()) == ["embedder"]


def test_an_incomplete_source_is_refused_and_leaves_the_old_model_alone(tmp_path: Path) -> None:
    target = tmp_path / "embedder"
    target.mkdir()
    (target / "model.json").write_text("old")
    with pytest.raises(ConfigurationError, match=r"model\.safetensors"):
        convert_embedder(tmp_path, target)
    assert (target / "model.json").read_text() == "old"


def test_another_family_is_refused(tmp_path: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(ConfigurationError, match="BERT"):
        convert_embedder(tmp_path, tmp_path / "out")
