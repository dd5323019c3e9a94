"""Builds identity: the verifier of the configured issuer, or the demo's own."""

import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import httpx

from app.domain.identity import TenantId
from app.errors import ConfigurationError
from app.identity.demo_issuer import DemoIssuer, IssuerAddress, is_loopback
from app.identity.keys import KeySource, RemoteKeys
from app.identity.logout import logout_rules
from app.identity.sessions import Sessions
from app.identity.sign_in import ClientRules, SignIn
from app.identity.subjects import ClaimNames
from app.identity.tokens import TokenRules, TokenVerifier
from app.sample import read_people
from app.settings import Settings
from app.wiring.services import Identity

MAX_ISSUER_CHARS = 140
"""With a subject of 255 characters, what the columns of subjects hold."""
NO_ISSUER = "No sign-in service is configured: set PORTCULLIS_OIDC_ISSUER, or start `portcullis demo`."


def identity_for(settings: Settings, stack: AsyncExitStack) -> Identity:
    """Identity of an installation. Raises ConfigurationError when no issuer is configured outside demo mode."""
    if len(settings.oidc_issuer or "") > MAX_ISSUER_CHARS:
        message = f"PORTCULLIS_OIDC_ISSUER is longer than {MAX_ISSUER_CHARS} characters, which no record holds."
        raise ConfigurationError(message)
    trust = True if settings.oidc_ca_file is None else _trusting(settings.oidc_ca_file)
    client = httpx.AsyncClient(trust_env=False, verify=trust)
    stack.push_async_callback(client.aclose)
    demo = demo_issuer(settings) if settings.demo else None
    issuer = demo.address.issuer if demo else settings.oidc_issuer
    if not issuer:
        raise ConfigurationError(NO_ISSUER)
    if not issuer.startswith("https://") and not is_loopback(issuer):
        message = "PORTCULLIS_OIDC_ISSUER must start with https://: keys fetched in the clear could be anybody's."
        raise ConfigurationError(message)
    remote = RemoteKeys(issuer, client)
    keys: KeySource = demo or remote
    access = TokenVerifier(TokenRules(issuer, settings.oidc_audience, settings.oidc_algorithms, settings.oidc_leeway_s), keys)
    identity = TokenVerifier(TokenRules(issuer, settings.oidc_client_id, settings.oidc_algorithms, settings.oidc_leeway_s), keys)
    names = ClaimNames(settings.claim_groups, settings.claim_roles, settings.claim_clearance, settings.claim_purposes)
    secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else None
    sign_in = SignIn(ClientRules(settings.oidc_client_id, secret, trust), access, identity, remote)
    logouts = TokenVerifier(logout_rules(issuer, settings.oidc_client_id, settings.oidc_algorithms, settings.oidc_leeway_s), keys)
    return Identity(access, Sessions(TenantId(settings.tenant), names), sign_in, names, demo, logouts)


def _trusting(authority: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(authority))
    except (OSError, ValueError) as error:
        message = f"PORTCULLIS_OIDC_CA_FILE cannot be read as certificates: {authority}."
        raise ConfigurationError(message) from error


def demo_issuer(settings: Settings) -> DemoIssuer:
    """The bundled issuer with the sample people. Raises ConfigurationError outside demo mode or off loopback."""
    address = IssuerAddress(settings.base_url, settings.oidc_client_id, settings.oidc_audience, settings.demo)
    return DemoIssuer(address, read_people(settings.examples), settings.data / "demo-issuer.pem")
