"""Search results, answers and earlier answers as plain JSON values, with the names that callers rely on. For every door."""

from datetime import datetime
from typing import Any

from app.answer.history import ReopenedAnswer
from app.domain.content import Answer, AnswerState, ChunkId, Citation, Grounding, ModelUse, Passage, Receipt, SearchResult

_KEPT = (
    "answer_id",
    "conversation_id",
    "question",
    "state",
    "citations",
    "model",
    "decision_id",
    "policy_digest",
    "receipt",
    "degraded",
    "created_at",
)
_PASSAGE = ("passage_id", "document_id", "version", "collection", "label", "title", "source_uri", "text", "rank", "confidence", "language")
_CITATION = ("n", "passage_id", "document_id", "version", "title", "source_uri", "quote", "start", "end")


def passage_view(passage: Passage) -> dict[str, Any]:
    """A passage as rendered for its viewer."""
    view = {name: getattr(passage, name) for name in _PASSAGE}
    view["heading_path"] = list(passage.heading_path)
    view["hidden"] = [{"start": one.start, "end": one.end, "entity_type": one.entity_type} for one in passage.hidden]
    return view


def citation_view(citation: Citation) -> dict[str, Any]:
    """A quote that stands verbatim in its passage's text."""
    return {name: getattr(citation, name) for name in _CITATION}


def receipt_view(receipt: Receipt) -> dict[str, Any]:
    """Where the record of a release stands."""
    return {"receipt_id": receipt.receipt_id, "log": receipt.log, "index": receipt.index, "leaf_hash": receipt.leaf_hash}


def search_view(result: SearchResult) -> dict[str, Any]:
    """Passages, best first, with their receipt."""
    return {
        "passages": [passage_view(one) for one in result.passages],
        "state": result.state.value,
        "decision_id": result.decision_id,
        "policy_digest": result.policy_digest,
        "receipt": receipt_view(result.receipt),
        "degraded": list(result.degraded),
    }


def answer_view(answer: Answer) -> dict[str, Any]:
    """A checked answer."""
    refusal = None
    if answer.refusal_code is not None:
        refusal = {"code": answer.refusal_code, "message": answer.refusal_message or ""}
    return {
        "answer_id": answer.answer_id,
        "conversation_id": answer.conversation_id,
        "question": answer.question,
        "state": answer.state.value,
        "answer": answer.text,
        "citations": [citation_view(one) for one in answer.citations],
        "passages": [passage_view(one) for one in answer.passages],
        "refusal": refusal,
        "model": {"name": answer.model.name, "kind": answer.model.kind},
        "grounding": {"supported_share": answer.grounding.supported_share, "unsupported": list(answer.grounding.unsupported)},
        "usage": {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens},
        "decision_id": answer.decision_id,
        "policy_digest": answer.policy_digest,
        "receipt": receipt_view(answer.receipt),
        "degraded": list(answer.degraded),
        "created_at": zulu(answer.created_at),
    }


def reopened_view(one: ReopenedAnswer) -> dict[str, Any]:
    """An earlier answer in the shape of a fresh one, its passages rendered as the caller may see them now; or its sealed stub."""
    body = one.row.body
    if one.sealed_because is not None:
        stub = {name: body[name] for name in ("answer_id", "conversation_id", "question", "receipt")}
        return {**stub, "created_at": zulu(one.row.created_at), "sealed": True, "reason_code": one.sealed_because}
    view = {name: body[name] for name in _KEPT}
    view["created_at"] = zulu(one.row.created_at)
    view["answer"] = body["text"]
    view["refusal"] = {"code": body["refusal_code"], "message": body["refusal_message"] or ""} if body["refusal_code"] else None
    view["grounding"] = body["grounding"]
    view["usage"] = {"prompt_tokens": body["prompt_tokens"], "completion_tokens": body["completion_tokens"]}
    view["passages"] = [passage_view(_passage(one, kept)) for kept in body["passages"]]
    return view


def reopened_answer(one: ReopenedAnswer) -> Answer:
    """An open earlier answer as a domain value. Raises ValueError for a sealed one."""
    if one.sealed_because is not None:
        message = "a sealed answer has no text"
        raise ValueError(message)
    body = one.row.body
    return Answer(
        answer_id=body["answer_id"],
        conversation_id=body["conversation_id"],
        question=body["question"],
        state=AnswerState(body["state"]),
        text=body["text"],
        citations=tuple(Citation(**citation) for citation in body["citations"]),
        passages=tuple(reopened_passages(one)),
        refusal_code=body["refusal_code"],
        refusal_message=body["refusal_message"],
        model=ModelUse(**body["model"]),
        grounding=Grounding(body["grounding"]["supported_share"], tuple(body["grounding"]["unsupported"])),
        prompt_tokens=body["prompt_tokens"],
        completion_tokens=body["completion_tokens"],
        decision_id=body["decision_id"],
        policy_digest=body["policy_digest"],
        receipt=Receipt(**body["receipt"]),
        degraded=tuple(body["degraded"]),
        created_at=one.row.created_at,
    )


def reopened_passages(one: ReopenedAnswer) -> list[Passage]:
    """The passages of an open earlier answer, rendered as the caller may see them now."""
    return [] if one.sealed_because else [_passage(one, kept) for kept in one.row.body["passages"]]


def zulu(moment: datetime) -> str:
    """RFC 3339 in UTC with `Z`."""
    return moment.isoformat().replace("+00:00", "Z")


def _passage(one: ReopenedAnswer, kept: dict[str, Any]) -> Passage:
    found = one.passages[ChunkId(kept["passage_id"])]
    document = found.stored.document
    return Passage(
        passage_id=found.stored.chunk.chunk_id,
        document_id=document.document_id,
        version=found.stored.version,
        collection=document.collection,
        label=document.label,
        title=found.title,
        source_uri=found.source_uri,
        heading_path=found.headings,
        text=found.text.text,
        hidden=found.text.hidden,
        rank=kept["rank"],
        confidence=kept["confidence"],
        language=document.language,
    )
