"""Portcullis, a governed knowledge gateway. Floors and rooms are described in docs/architecture.md; imports go down only."""
