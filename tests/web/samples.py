"""Plain domain values for every page, and the pages rendered from them without a server."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from lxml import html

from app.domain.access import Acl, AclMode, DecisionId
from app.domain.content import (
    Answer,
    AnswerState,
    ChunkId,
    Citation,
    Document,
    DocumentId,
    DocumentState,
    Grounding,
    ModelUse,
    Passage,
    Receipt,
)
from app.domain.identity import TenantId
from app.domain.privacy import HiddenSpan, Rendering
from app.web.rendering import Viewer
from app.web.templating import fragment

NOW = datetime(2026, 11, 20, 10, 52, 7, tzinfo=UTC)
VIEWER = Viewer("engineer", "Sample Company", "confidential", reads=True, rereads=True, is_officer=True, csrf_token="t0k")
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
TEXT = "Leave is sixteen weeks.\nAsk [PERSON hidden], it is confirmed in five days."
HIDDEN = HiddenSpan(TEXT.index("["), TEXT.index("]") + 1, "PERSON")
PASSAGE = Passage(
    ChunkId("d1.2.0"), DocumentId("d1"), 2, "hr", "internal", "Parental leave", "hr/x.md", ("2 Entitlement",), TEXT, (HIDDEN,), 1, 0.9, "en"
)
RECEIPT = Receipt("rcp_1", "portcullis/sample", 48217, "9b1f04c7e2a85d309b1f04c7e2a85d30")
CITATIONS = (
    Citation(1, ChunkId("d1.2.0"), DocumentId("d1"), 2, "Parental leave", "hr/x.md", TEXT[:23], 0, 23),
    Citation(2, ChunkId("d1.2.0"), DocumentId("d1"), 2, "Parental leave", "hr/x.md", TEXT[24:46], 24, 46),
)
ANSWER = Answer(
    answer_id="a1",
    conversation_id="c1",
    question="How much leave?",
    state=AnswerState.ANSWERED,
    text="You get **sixteen weeks**. [1]\n- Ask [PERSON hidden]. [2]\n- See [9].",
    citations=CITATIONS,
    passages=(PASSAGE,),
    refusal_code=None,
    refusal_message=None,
    model=ModelUse("extractive", "extractive"),
    grounding=Grounding(1.0, ()),
    prompt_tokens=0,
    completion_tokens=0,
    decision_id=DecisionId("dec_1"),
    policy_digest="sha256:" + "ab" * 32,
    receipt=RECEIPT,
    degraded=("vectors",),
    created_at=NOW,
)
DOCUMENT = Document(
    TenantId("sample"),
    DocumentId("d1"),
    "hr",
    "hr/x",
    "Parental leave",
    DocumentState.LIVE,
    2,
    "internal",
    1,
    Acl(AclMode.INHERIT),
    1,
    "en",
    "hr/x.md",
    None,
    NOW,
    NOW,
)


def row(**values: object) -> SimpleNamespace:
    return SimpleNamespace(**values)


LINE = row(conversation=row(conversation_id="c1", updated_at=NOW), question="How much leave?")
EVENT = row(
    event_id="e1",
    index=48240,
    type="retrieval.denied",
    recorded_at=NOW,
    actor="psn_7f3a",
    outcome="deny",
    reason_code="purpose_missing",
    purpose="none",
    policy_digest="sha256:" + "cd" * 32,
    facts=[("Collection", "finance")],
    about=[("document", "doc_1", "/log?document=doc_1"), ("case", "SEC-1", "")],
    proof_address="/log/e1/proof?case_id=SEC-1",
    leaf_hash="aa" * 32,
    hashes=["bb" * 32],
    root_hash="cc" * 32,
    tree_size=48244,
    is_proved=True,
    raw='{"type": "retrieval.denied"}',
)
ENTRY = row(
    event_id="e1",
    index=48240,
    recorded_at=NOW,
    type="retrieval.denied",
    actor="psn_7f3a",
    target="finance",
    outcome="deny",
    reason_code="purpose_missing",
    address="/log/e1?case_id=SEC-1",
)
QUERY = row(case_id="SEC-1", reason="why", actor="", type="", outcome="deny", document="", since="", until="")
COMMON: dict[str, Any] = {
    "request": None,
    "viewer": VIEWER,
    "purpose": "none",
    "purposes": ["incident-response"],
    "why": ["you are in x"],
    "is_verified": False,
}
READING = row(
    question="Old?",
    created_at=NOW,
    state="answered",
    answer_id="a1",
    sealed_because=None,
    text="Yes. [1]\n- No. [2]",
    citations=CITATIONS,
    receipt_index=7,
)
PAGES: dict[str, dict[str, Any]] = {
    "sign-in.html": {
        "viewer": None,
        "company": "Sample Company",
        "people": [row(name="engineer", description="Berlin")],
        "next_path": "/ask?a=b&c",
    },
    "demo-issuer.html": {"people": [row(name="engineer", description="Berlin")], "query": {"state": "x", "person": "no"}},
    "ask.html": {
        "collections": [row(name="hr", default_label="internal")],
        "suggestions": [row(collection="hr", label="internal", questions=["How much?"])],
        "recent": [LINE],
    },
    "answer.html": {"answer": ANSWER},
    "closest.html": {"answer": replace(ANSWER, state=AnswerState.CLOSEST_PASSAGES, text="")},
    "refused.html": {
        "answer": replace(ANSWER, state=AnswerState.REFUSED, text="", passages=()),
        "requests": [row(hint="x", sent_at=NOW, outcome="open")],
    },
    "access-requests.html": {"hint": "", "requests": [], "sent": True},
    "history.html": {
        "lines": [LINE],
        "current": row(
            conversation_id="c1", title="How much?", readings=[READING, row(**{**vars(READING), "sealed_because": "source_not_open"})]
        ),
    },
    "delete-conversation.html": {"conversation_id": "c1", "title": "How much?"},
    "documents.html": {
        "collections": [row(name="hr")],
        "collection": "hr",
        "lines": [row(document=DOCUMENT, title="T")],
        "older": "/documents?cursor=x",
        "troubled": [
            row(
                job_id=f"job_{state}",
                document_id="d1",
                payload={"file_name": "plan.docx"},
                error="It could not be read.",
                created_at=NOW,
                state=row(value=state),
            )
            for state in ("failed", "quarantined")
        ],
    },
    "document.html": {
        "opened": row(
            document=DOCUMENT,
            title="Parental leave",
            source_uri="hr/x.md",
            text=Rendering(TEXT, (HIDDEN,)),
            versions=((1, NOW), (2, NOW)),
        ),
    },
    "officer.html": {
        "integrity": row(is_whole=True, entries=48244, checked_at=NOW, checkpoint_entries=48240, checkpoint_at=NOW, problem=""),
        "panels": [
            row(question="Who was refused?", answer="The newest.", entries=[ENTRY], address="/log", link="See"),
            row(question="Who looked?", answer="Nobody.", entries=[], address="/log", link="See"),
        ],
    },
    "log.html": {
        "query": QUERY,
        "types": ["retrieval.denied"],
        "entries": [ENTRY],
        "event": None,
        "older": "/log?cursor=x",
        "back": "/log",
    },
    "receipt.html": {"receipt": RECEIPT, "policy_digest": "sha256:" + "ab" * 32, "model": "extractive"},
    "problem.html": {
        "viewer": None,
        "status": 404,
        "title": "Not found",
        "detail": "Nothing with this id is open to you.",
        "request_id": "r1",
    },
    "reference.html": {
        "viewer": None,
        "version": "1",
        "groups": {
            "answers": [
                {
                    "anchor": "post-v1-answers",
                    "method": "POST",
                    "path": "/v1/answers",
                    "summary": "Ask.",
                    "parameters": [{"name": "X-Purpose", "place": "header", "is_required": False, "meaning": "Why you ask."}],
                    "body": [{"name": "question", "kind": "string", "is_required": True}],
                    "example": '{"question": "How much?"}',
                    "statuses": ["200", "422"],
                }
            ]
        },
    },
    "streaming.html": {"question": "How much?", "stream_url": "/ask/stream/x"},
}


def rendered(name: str, **changes: object) -> str:
    return fragment(name, **{**COMMON, **PAGES[name], **changes})


def tree(text: str) -> html.HtmlElement:
    return html.document_fromstring(text)
