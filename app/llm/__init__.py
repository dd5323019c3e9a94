"""Room: models. The bundled sentence encoder, its conversion, any OpenAI-compatible chat endpoint. Nothing here learns or keeps text."""

import os

# onnxruntime sends names and digests of models to its maker from the moment it is imported, unless this is set before.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
