"""Short names for what parser tests do in every line."""

import pytest

from app.domain.content import ParsedDocument
from app.errors import UnsupportedContentError
from app.ingest.parsers.registry import parse


def read(content: bytes | str, name: str, media_type: str | None = None) -> ParsedDocument:
    return parse(content.encode() if isinstance(content, str) else content, media_type, name)


def texts(parsed: ParsedDocument) -> list[str]:
    return [block.text for block in parsed.blocks]


def kinds(parsed: ParsedDocument) -> list[str]:
    return [block.kind.value for block in parsed.blocks]


def refusal(content: bytes | str, name: str, media_type: str | None = None) -> str:
    with pytest.raises(UnsupportedContentError) as caught:
        read(content, name, media_type)
    return caught.value.detail
