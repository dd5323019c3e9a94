"""Earlier answers as JSON: whole when every source is still open, sealed otherwise."""

from typing import Any

from app.answer.history import ReopenedAnswer
from app.domain.content import ChunkId

_KEPT = ("answer_id", "conversation_id", "question", "state", "citations", "model", "decision_id", "policy_digest", "receipt", "degraded", "created_at")


def reopened_view(one: ReopenedAnswer) -> dict[str, Any]:
    """The answer in the shape of a fresh one, its passages rendered as the caller may see them now; or its sealed stub."""
    body = one.row.body
    if one.sealed_because is not None:
        stub = {name: body[name] for name in ("answer_id", "conversation_id", "question", "created_at", "receipt")}
        return {**stub, "sealed": True, "reason_code": one.sealed_because}
    view = {name: body[name] for name in _KEPT}
    view["answer"] = body["text"]
    view["refusal"] = {"code": body["refusal_code"], "message": body["refusal_message"] or ""} if body["refusal_code"] else None
    view["grounding"] = body["grounding"]
    view["usage"] = {"prompt_tokens": body["prompt_tokens"], "completion_tokens": body["completion_tokens"]}
    view["passages"] = [_passage(one, kept) for kept in body["passages"]]
    return view


def _passage(one: ReopenedAnswer, kept: dict[str, Any]) -> dict[str, Any]:
    found = one.passages[ChunkId(kept["passage_id"])]
    document = found.stored.document
    return {
        "passage_id": found.stored.chunk.chunk_id,
        "document_id": document.document_id,
        "version": found.stored.version,
        "collection": document.collection,
        "label": document.label,
        "title": found.title,
        "source_uri": found.source_uri,
        "heading_path": list(found.headings),
        "text": found.text.text,
        "hidden": [{"start": span.start, "end": span.end, "entity_type": span.entity_type} for span in found.text.hidden],
        "rank": kept["rank"],
        "confidence": kept["confidence"],
        "language": document.language,
    }
