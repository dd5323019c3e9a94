"""Upstream weights to the folder `LocalEmbedder` reads: an int8 ONNX graph, the tokenizer, and `model.json` that names and hashes both.

Needs the `setup` extra (onnx, safetensors), imported inside the functions: a server that carries a converted folder has neither. The
result depends on the weights and the pinned library versions only, so two conversions give the same bytes.
"""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from app.errors import ConfigurationError

MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
MANIFEST_FILE = "model.json"

_MAX_TOKENS = 256
"""The length the upstream model was trained with; what is longer is cut."""

BACKGROUND = 0.08
"""Median cosine of an unrelated question and chunk: 0.08 on a handbook, 0.02 to 0.25 on others; orders barely change between 0 and 0.2."""

CALIBRATION = {"slope": 4.5, "midpoint": 1.45, "weak": 0.12, "found": 0.25}
"""From raw evidence to confidence: logistic slope and midpoint, and the confidences from which evidence is weak or found.

A logistic fit of "the quotes come from the right page" over 157 question-shaped headings of a handbook (each heading taken out of its
page), the same with their page withheld, and 300 questions meant for other companies gave slope 4.4 and midpoint 1.5. At 0.25, 94 % of
the first count as found and 80 % of the last do not; a plausible question about a missing detail of a present topic stays undetected.
"""


def convert_embedder(source: Path, target: Path) -> None:
    """Write `model.onnx`, `tokenizer.json` and `model.json` at `target` from the safetensors folder at `source`, in one step.

    Raises ConfigurationError when `source` is incomplete, of another family, or the `setup` extra is not installed.
    """
    config = _read_config(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".embedder-", dir=target.parent))
    try:
        _write_graph(source, config, staging)
        shutil.copyfile(source / TOKENIZER_FILE, staging / TOKENIZER_FILE)
        (staging / MANIFEST_FILE).write_text(json.dumps(_manifest(config, staging), indent=1) + "\n", encoding="utf-8")
        staging.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _read_config(source: Path) -> dict[str, object]:
    missing = [name for name in ("config.json", "model.safetensors", TOKENIZER_FILE) if not (source / name).is_file()]
    if missing:
        message = f"The embedder's source lacks {', '.join(missing)}: run `make models`."
        raise ConfigurationError(message)
    config: dict[str, object] = json.loads((source / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
        message = "Only encoders of the BERT family with GELU can be converted."
        raise ConfigurationError(message)
    return config


def _write_graph(source: Path, config: dict[str, object], staging: Path) -> None:
    """Build the float graph, then quantize its matrices to int8 per channel; activations are quantized while it runs."""
    try:
        import onnx  # noqa: PLC0415 - the `setup` extra is absent from a server install
        from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 - imports onnx
        from safetensors.numpy import load_file  # noqa: PLC0415 - the `setup` extra

        from app.llm.bert_graph import BertShape, build_encoder  # noqa: PLC0415 - imports onnx at its top
    except ImportError as error:
        message = "Converting the embedder needs the setup extra: install with `pip install 'portcullis[setup]'`."
        raise ConfigurationError(message) from error
    layers, hidden, heads = (int(str(config[key])) for key in ("num_hidden_layers", "hidden_size", "num_attention_heads"))
    shape = BertShape(layers, hidden, heads, float(str(config["layer_norm_eps"])))
    tensors = load_file(source / "model.safetensors")
    weights = {name.removeprefix("bert."): tensor.astype("float32") for name, tensor in tensors.items() if tensor.dtype.kind == "f"}
    whole = staging / "float.onnx"
    onnx.save(build_encoder(weights, shape), whole)
    quantize_dynamic(whole, staging / MODEL_FILE, per_channel=True, weight_type=QuantType.QInt8)
    whole.unlink()


def _manifest(config: dict[str, object], folder: Path) -> dict[str, object]:
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (MODEL_FILE, TOKENIZER_FILE)}
    return {
        "name": "all-MiniLM-L6-v2-int8",
        "dim": config["hidden_size"],
        "max_tokens": _MAX_TOKENS,
        "pooling": "mean",
        "prefixes": {"query": "", "document": ""},
        "sha256": hashes,
        "background": BACKGROUND,
        "calibration": CALIBRATION,
    }
