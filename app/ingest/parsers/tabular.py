"""CSV and its relatives: every line a row under the names of the first one."""

import csv
import io

from app.domain.content import ParsedDocument
from app.errors import UnsupportedContentError
from app.ingest.parsers.normalise import clean
from app.ingest.parsers.outline import Outline

_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 20
_MAX_CELL_CHARS = 4_000_000


def parse_csv(source: str, fallback_title: str) -> ParsedDocument:
    """Read a table. The delimiter is the one that splits the first lines most evenly; quoting follows RFC 4180."""
    csv.field_size_limit(_MAX_CELL_CHARS)
    text = clean(source)
    outline = Outline(fallback_title)
    try:
        outline.table(list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))))
    except csv.Error as error:
        msg = f"The table could not be read: {error}. Check quotes and cell sizes, then upload it again."
        raise UnsupportedContentError(msg) from error
    return outline.build(fallback_title)


def _delimiter(text: str) -> str:
    """The delimiter found in most of the first lines, and most often there; a comma when none is."""
    lines = [line for line in text[:65_536].split("\n")[:_SAMPLE_LINES] if line.strip()]

    def weight(delimiter: str) -> tuple[int, int]:
        counts = [line.count(delimiter) for line in lines]
        return sum(count > 0 for count in counts), min(counts, default=0)

    return max(_DELIMITERS, key=weight)
