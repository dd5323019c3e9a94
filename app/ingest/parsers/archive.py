"""Looks into a ZIP before anything is unpacked: what Office format it is, and whether it is safe to open.

Declared sizes are trusted only to refuse: zipfile itself stops reading at the declared size.
"""

import io
import zipfile

from lxml import etree

from app.errors import UnsupportedContentError

_MAX_PARTS = 5_000
_MAX_UNPACKED_BYTES = 300 * 1024 * 1024
_MAX_RATIO = 200
_RATIO_FROM_BYTES = 5 * 1024 * 1024
"""Small XML parts compress very well; a ratio only tells a bomb from a document above this size."""
_XML = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True)
RELATIONSHIP_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def part_names(content: bytes) -> frozenset[str]:
    """Names of the parts of an archive that may be opened. Raises UnsupportedContentError for bombs, encryption, macros and damage."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        msg = "The archive is damaged. Upload the original file."
        raise UnsupportedContentError(msg) from error
    unpacked = sum(part.file_size for part in parts)
    too_dense = unpacked > _RATIO_FROM_BYTES and unpacked > _MAX_RATIO * len(content)
    if len(parts) > _MAX_PARTS or unpacked > _MAX_UNPACKED_BYTES or too_dense:
        msg = "The archive would unpack to far more than it holds. Upload the document itself, with fewer or smaller pictures."
        raise UnsupportedContentError(msg)
    if any(part.flag_bits & 1 for part in parts):
        msg = "The archive is encrypted. Remove the password and upload it again."
        raise UnsupportedContentError(msg)
    if any(part.filename.lower().endswith(("vbaproject.bin", "vbadata.xml")) for part in parts):
        msg = "The document carries macros. Save it without macros and upload it again."
        raise UnsupportedContentError(msg)
    return frozenset(part.filename for part in parts)


def read_xml(archive: zipfile.ZipFile, name: str) -> etree._Element:
    """The root of one XML part; entities are not expanded and nothing is fetched. Raises KeyError and lxml's errors."""
    return etree.fromstring(archive.read(name), parser=_XML)


def related(archive: zipfile.ZipFile, name: str) -> dict[str, str]:
    """Targets of a part's relationships by id, as names in the archive (ECMA-376 part 2, section 9.3)."""
    folder, _, file = name.rpartition("/")
    found = {}
    for link in read_xml(archive, f"{folder}/_rels/{file}.rels"):
        target = link.get("Target") or ""
        found[link.get("Id") or ""] = target.lstrip("/") if target.startswith("/") else f"{folder}/{target}"
    return found
