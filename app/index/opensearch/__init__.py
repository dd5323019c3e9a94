"""The OpenSearch engine behind the `PassageIndex` port. `opensearchpy` is imported in two modules only; nothing here decides access."""
