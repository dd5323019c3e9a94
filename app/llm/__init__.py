"""Room: models. The bundled sentence encoder, its conversion, any OpenAI-compatible chat endpoint. Nothing here learns or keeps text."""
