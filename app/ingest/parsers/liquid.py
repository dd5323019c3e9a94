"""Removes the template language of static site generators (Liquid, kramdown) from Markdown, as a reader of the page never sees it.

A scanner instead of one pattern: with thousands of unclosed tags a non-greedy pattern reads to the end once for each.
"""

import re

_CHANNEL = re.compile(r"\s*slack_channel\s+[\"']#?([^\"']{1,80})[\"']")
_NAME = re.compile(r"-?\s*([a-z_]+)")
_ENDS = {name: re.compile(rf"\{{%-?\s{{0,9}}end{name}\s{{0,9}}-?%\}}") for name in ("comment", "raw")}
_RAW_MARK = re.compile(r"\{%-?\s{0,9}(?:end)?raw\s{0,9}-?%\}")
_EMPTY_DEFINITION = re.compile(r"^( {0,3}\[[^\]\n]{1,200}\]:)[ \t]*$", re.MULTILINE)
"""A link target that was a tag only; without any target the definition would show as text."""
_ATTRIBUTES = re.compile(r"\{[:#][^{}\n]{0,200}\}")
_TAG_END = {"{%": "%}", "{{": "}}"}


def strip_liquid(text: str) -> str:
    """`text` without tags, outputs and attribute lists; comments go with their content, `raw` content stays, channels become names."""
    parts: list[str] = []
    at = 0
    unclosed: set[str] = set()
    last_ends = {name: text.rfind(f"end{name}") for name in _ENDS}
    for match in re.finditer(r"\{[%{]", text):
        start, opening = match.start(), match[0]
        if start < at or opening in unclosed:
            continue
        end = text.find(_TAG_END[opening], start + 2)
        if end < 0:
            unclosed.add(opening)
            continue
        parts.append(text[at:start])
        shown, at = _tag(text, (start + 2, end), last_ends) if opening == "{%" else ("", end + 2)
        parts.append(shown)
    parts.append(text[at:])
    return _EMPTY_DEFINITION.sub(r"\1 <#>", _ATTRIBUTES.sub("", "".join(parts)))


def strip_raw_marks(code: str) -> str:
    """Fenced code without the `raw` marks that keep a generator from touching it."""
    return _RAW_MARK.sub("", code)


def _tag(text: str, place: tuple[int, int], last_ends: dict[str, int]) -> tuple[str, int]:
    """What a reader sees of the tag whose inside is `place`, and where reading goes on.

    `last_ends` says where the last closing words stand, so that nobody looks for one that is not there, tag after tag.
    """
    inside, after = text[slice(*place)], place[1] + 2
    channel = _CHANNEL.match(inside)
    if channel:
        return f"#{channel[1]}", after
    name = _NAME.match(inside)
    if name and after <= last_ends.get(name[1], -1):
        closing = _ENDS[name[1]].search(text, after)
        if closing:
            return text[after : closing.start()] if name[1] == "raw" else "", closing.end()
        last_ends[name[1]] = -1
    return "", after
