"""The YAML head of a Markdown page: title, language and the words an author gave for finding it."""

import re
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEAD = re.compile(r"\A\s*---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_MAX_HEAD_CHARS = 65_536
_KEYWORD_FIELDS = ("keywords", "tags", "subtitle", "questions")
_PLAIN_FIELD = re.compile(r"^([A-Za-z_]{1,40}):[ \t]+(.+)$", re.MULTILINE)


def split_front_matter(source: str) -> tuple[dict[str, object] | None, str]:
    """The head's fields (`None` when there is no head) and the text below it. A head that is not YAML is read line by line."""
    match = _HEAD.match(source)
    if not match or len(match[1]) > _MAX_HEAD_CHARS:
        return None, source
    try:
        fields = yaml.safe_load(match[1])
    except (yaml.YAMLError, RecursionError, ValueError):
        fields = {key: value.strip(" \"'") for key, value in _PLAIN_FIELD.findall(match[1])}
    return (fields if isinstance(fields, dict) else {}), source[match.end() :]


def text_field(fields: dict[str, object], *names: str) -> str:
    """The first of `names` that holds a single value, as text; empty when there is none."""
    return next((str(fields[name]) for name in names if isinstance(fields.get(name), str | int | float)), "")


def keywords(fields: dict[str, object]) -> list[str]:
    """Words for finding the page, in the order the author gave them."""
    found: list[str] = []
    for name in _KEYWORD_FIELDS:
        value = fields.get(name)
        values: Iterable[object] = value if isinstance(value, list) else [value]
        found += [str(v) for v in values if isinstance(v, str | int | float)]
    return found
