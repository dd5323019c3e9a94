"""The composition root: the only place that builds rooms and flows, once, and the only place that stops them."""

from app.wiring.building import Models, check_settings, load_models, open_services
from app.wiring.heartbeat import beat
from app.wiring.measuring import prepare_models, rank_set
from app.wiring.moving import abandon_move, move_store
from app.wiring.people import demo_issuer
from app.wiring.services import Identity, Services
from app.wiring.signing import resume_log, sign_forever, signer_key, verify_installation

__all__ = [
    "Identity",
    "Models",
    "Services",
    "abandon_move",
    "beat",
    "check_settings",
    "demo_issuer",
    "load_models",
    "move_store",
    "open_services",
    "prepare_models",
    "rank_set",
    "resume_log",
    "sign_forever",
    "signer_key",
    "verify_installation",
]
