"""Opens the search index that the settings name: the embedded one, or OpenSearch."""

import os
from contextlib import AsyncExitStack
from ipaddress import ip_address
from urllib.parse import urlsplit

from app.domain.ports import PassageIndex
from app.errors import ConfigurationError
from app.index.embedded import EmbeddedIndex
from app.ingest.rebuild import RebuildIndex
from app.llm.embedder import LocalEmbedder
from app.settings import Settings
from app.storage.transaction import Database


async def open_index(settings: Settings, embedder: LocalEmbedder, stack: AsyncExitStack) -> PassageIndex:
    """The index, closed by `stack`. Raises ConfigurationError for settings at odds with each other and servers too old to work with."""
    if not settings.opensearch_url:
        embedded = EmbeddedIndex(settings.data / "index.db", dictionary=embedder.known_words())
        stack.callback(embedded.close)
        return embedded
    from app.index.opensearch.engine import open_opensearch_index  # noqa: PLC0415 - its client is half a second of a laptop's start
    from app.index.opensearch.rules import Login, OpenSearchRules  # noqa: PLC0415 - as above

    _check(settings)
    password, token = settings.opensearch_password, settings.opensearch_token
    login = Login(
        user=settings.opensearch_user,
        password=password.get_secret_value() if password else "",
        token=token.get_secret_value() if token else "",
        ca_file=settings.opensearch_ca_file,
        cert_file=settings.opensearch_cert_file,
        key_file=settings.opensearch_key_file,
        aws_region=settings.opensearch_aws_region,
        # The names every tool of that cloud uses.
        aws_key_id=os.environ.get("AWS_ACCESS_KEY_ID", ""),
        aws_secret=os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
        aws_session_token=os.environ.get("AWS_SESSION_TOKEN", ""),
    )
    rules = OpenSearchRules(
        urls=_addresses(settings),
        dim=embedder.dim,
        login=login,
        prefix=settings.opensearch_prefix,
        shards=settings.opensearch_shards,
        replicas=settings.opensearch_replicas,
        refresh_interval=settings.opensearch_refresh,
        knn_engine=settings.opensearch_knn_engine,
        own_index=frozenset(settings.opensearch_own_index),
        timeout_s=settings.opensearch_timeout_s,
    )
    index = await open_opensearch_index(rules, dictionary=embedder.known_words(), model=embedder.digest)
    stack.push_async_callback(index.close)
    return index


def rebuild_of(database: Database, index: PassageIndex) -> RebuildIndex | None:
    """How the index is built anew while it serves; `None` for the embedded one, whose file is simply deleted."""
    if isinstance(index, EmbeddedIndex):
        return None
    from app.index.opensearch.engine import OpenSearchIndex  # noqa: PLC0415 - as in `open_index`
    from app.index.opensearch.rebuilding import Rebuilding  # noqa: PLC0415 - as in `open_index`

    return RebuildIndex(database, index, Rebuilding(index)) if isinstance(index, OpenSearchIndex) else None


def _addresses(settings: Settings) -> tuple[str, ...]:
    """The servers' addresses. Raises ConfigurationError for those that would send a question or a password in clear over a network."""
    found = [urlsplit(url.strip()) for url in settings.opensearch_url]
    for one in found:
        if one.scheme not in ("http", "https") or not one.hostname:
            message = "PORTCULLIS_OPENSEARCH_URL: each address is `https://HOST:PORT`, or `http://127.0.0.1:PORT` on this machine."
            raise ConfigurationError(message)
        if one.username or one.password or one.query or one.fragment:
            message = (
                "PORTCULLIS_OPENSEARCH_URL: an address holds a login or a query. Use PORTCULLIS_OPENSEARCH_USER and its password file."
            )
            raise ConfigurationError(message)
        if one.scheme == "http" and not _is_loopback(one.hostname):
            message = f"PORTCULLIS_OPENSEARCH_URL: {one.hostname} is another machine, where questions would travel in clear: use https."
            raise ConfigurationError(message)
    is_tls = {one.scheme == "https" for one in found}
    certificates = (settings.opensearch_ca_file, settings.opensearch_cert_file, settings.opensearch_aws_region or None)
    if len(is_tls) > 1 or (is_tls == {False} and any(certificates)):
        message = "PORTCULLIS_OPENSEARCH_URL: certificates and signed requests need https, at every address."
        raise ConfigurationError(message)
    return tuple(one.geturl() for one in found)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(settings: Settings) -> None:
    ways = {
        "PORTCULLIS_OPENSEARCH_USER": settings.opensearch_user,
        "PORTCULLIS_OPENSEARCH_TOKEN": settings.opensearch_token,
        "PORTCULLIS_OPENSEARCH_AWS_REGION": settings.opensearch_aws_region,
    }
    given = [name for name, value in ways.items() if value]
    if len(given) > 1:
        message = f"{' and '.join(given)} are set: keep one way to sign in."
        raise ConfigurationError(message)
    if settings.opensearch_aws_region and not (os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY")):
        message = "PORTCULLIS_OPENSEARCH_AWS_REGION needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment."
        raise ConfigurationError(message)
    if settings.opensearch_user and settings.opensearch_password is None:
        message = "PORTCULLIS_OPENSEARCH_USER needs PORTCULLIS_OPENSEARCH_PASSWORD, or its file in PORTCULLIS_OPENSEARCH_PASSWORD_FILE."
        raise ConfigurationError(message)
    if (settings.opensearch_cert_file is None) != (settings.opensearch_key_file is None):
        message = "PORTCULLIS_OPENSEARCH_CERT_FILE and PORTCULLIS_OPENSEARCH_KEY_FILE go together."
        raise ConfigurationError(message)
