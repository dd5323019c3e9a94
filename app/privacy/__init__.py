"""Room: personal data. Finds it once at ingest, renders stored text per viewer, keeps identifiers out of vectors and search words.

Nothing here decides who may see what: a caller hands in the entity types a viewer may see, and every other type is hidden.
"""
