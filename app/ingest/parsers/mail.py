"""Mail (RFC 5322, MIME) through the standard library: subject, the people on it, the text. Attachments are named, not read."""

import email
import email.policy
from email.errors import MessageError
from email.message import EmailMessage

from app.domain.content import BlockKind, ParsedDocument
from app.errors import UnsupportedContentError
from app.ingest.parsers.html import read_fragment
from app.ingest.parsers.outline import Outline
from app.ingest.parsers.text import read_paragraphs

_HEADERS = ("From", "To", "Cc", "Date")
_FAULTS = (MessageError, LookupError, ValueError, TypeError, AttributeError, RecursionError, AssertionError)
_BAD = "The mail is damaged or uses an encoding that is not read here. Save it again from the mail program and upload the result."


def parse_mail(content: bytes, fallback_title: str) -> ParsedDocument:
    """Read one message: plain text when it has any, else its HTML. Encrypted mail is refused."""
    try:
        message = email.message_from_bytes(content, policy=email.policy.default)
        if message.get_content_type() in {"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"}:
            msg = "The mail is encrypted. Save it decrypted and upload it again."
            raise UnsupportedContentError(msg)
        outline = Outline(str(message.get("Subject") or fallback_title))
        _read(message, outline)
    except _FAULTS as error:
        if isinstance(error, UnsupportedContentError):
            raise
        raise UnsupportedContentError(_BAD) from error
    return outline.build(fallback_title)


def _read(message: EmailMessage, outline: Outline) -> None:
    for name in _HEADERS:
        if message.get(name):
            outline.add(BlockKind.ITEM, f"{name}: {message[name]}")
    body = message.get_body(preferencelist=("plain", "html"))
    if body is None:
        raise UnsupportedContentError(_BAD)
    text = str(body.get_content())
    if body.get_content_type() == "text/html":
        read_fragment(text, outline)
    else:
        read_paragraphs(text, outline)
    for part in message.iter_attachments():
        outline.add(BlockKind.ITEM, f"Attachment: {part.get_filename() or part.get_content_type()}")
