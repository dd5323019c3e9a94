"""AWS Signature Version 4 for Amazon OpenSearch domains.

Written out, as the vendor's signer needs a package of 100 MB: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from opensearchpy import AsyncHttpConnection

from app.index.opensearch.rules import Login
from app.index.opensearch.staying import Staying

_SERVICE = "es"


class SigningConnection(Staying, AsyncHttpConnection):
    """A connection that signs every request with the keys of `signing`, given as an option of the client."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - the vendor's own options
        login: Login = options.pop("signing")

        def sign(method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> dict[str, str]:
            return signature(login, (method, url, body or b""), datetime.now(UTC), dict(headers))

        super().__init__(http_auth=sign, **options)


def signature(
    login: Login, request: tuple[str, str, bytes], moment: datetime, headers: Mapping[str, str], service: str = _SERVICE
) -> dict[str, str]:
    """Headers that sign a request: (method, address, body). The host, the date and the body's digest are signed."""
    method, url, body = request
    parts = urlsplit(url)
    stamp = moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    signed = {"host": parts.netloc, "x-amz-date": stamp, "x-amz-content-sha256": hashlib.sha256(body).hexdigest()}
    if login.aws_session_token:
        signed["x-amz-security-token"] = login.aws_session_token
    signed |= {name.lower(): value.strip() for name, value in headers.items() if name.lower() == "content-type"}
    names = ";".join(sorted(signed))
    query = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parse_qsl(parts.query, keep_blank_values=True))
    canonical = "\n".join(
        [
            method,
            quote(parts.path or "/", safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in query),
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            signed["x-amz-content-sha256"],
        ]
    )
    scope = f"{stamp[:8]}/{login.aws_region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{login.aws_secret}".encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    value = hmac.digest(key, text.encode(), "sha256").hex()
    given = f"AWS4-HMAC-SHA256 Credential={login.aws_key_id}/{scope}, SignedHeaders={names}, Signature={value}"
    return {**{name: text for name, text in signed.items() if name != "host"}, "authorization": given}
