"""Who is looking, as the frame of a page shows it."""

from app.domain.access import Action, Outcome
from app.domain.labels import RANKS
from app.identity.sessions import Session
from app.web.rendering import Viewer
from app.wiring import Services

_NAMES = {rank: label for label, rank in RANKS.items()}


async def viewer_of(services: Services, session: Session) -> Viewer:
    """The viewer behind a session: which places the navigation offers follows from policy, never from a role's name."""
    subject = session.subject
    rights = await services.policies.rights(subject, (Action.AUDIT_READ,))
    readable = await services.collections.readable(subject)
    return Viewer(
        display_name=subject.display_name,
        company=services.settings.company,
        clearance_label=_NAMES.get(subject.clearance, "public"),
        reads=bool(readable),
        is_officer=rights[Action.AUDIT_READ] is Outcome.ALLOW,
        csrf_token=session.csrf_token,
    )
