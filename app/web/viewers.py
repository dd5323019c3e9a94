"""Who is looking, as the frame of a page shows it."""

from collections.abc import Sequence

from app.domain.access import Action, Outcome
from app.domain.content import Collection
from app.domain.labels import RANKS
from app.identity.sessions import Session
from app.web.rendering import Viewer
from app.wiring import Services

_NAMES = {rank: label for label, rank in RANKS.items()}


async def viewer_of(services: Services, session: Session, readable: Sequence[Collection] | None = None) -> Viewer:
    """The viewer behind a session: which places the navigation offers follows from policy, never from a role's name.

    `readable` are the collections open to them, for a page that has asked for these already.
    """
    subject = session.subject
    rights = await services.policies.rights(subject, (Action.AUDIT_READ, Action.HISTORY_READ))
    if readable is None:
        readable = await services.collections.readable(subject)
    return Viewer(
        display_name=subject.display_name,
        company=services.settings.company,
        clearance_label=_NAMES.get(subject.clearance, "public"),
        reads=bool(readable),
        rereads=rights[Action.HISTORY_READ] is Outcome.ALLOW,
        is_officer=rights[Action.AUDIT_READ] is Outcome.ALLOW,
        csrf_token=session.csrf_token,
    )
