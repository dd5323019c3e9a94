"""What a secured cluster needs before its first start: an authority, certificates, and the first content of its security index."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.services.opensearch.jars import NotInstalledError, class_path

GATEWAY = "portcullis_gateway"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_certificates(folder: Path, *clients: str) -> None:
    """An authority, one certificate for all nodes, one for the administrator, and one for every client named.

    Raises NotInstalledError without openssl.
    """
    if shutil.which("openssl") is None:
        message = "no openssl on the path: a secured cluster makes its certificates with it"
        raise NotInstalledError(message)
    folder.mkdir(parents=True, exist_ok=True)
    subject = "/O=portcullis-test/CN="
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    _openssl(folder, "req", "-x509", *_NEW_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", f"{subject}ca", *usage)
    node = "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n"
    for name, extra in (("node", node), *((client, "extendedKeyUsage=clientAuth\n") for client in ("admin", *clients))):
        (folder / f"{name}.ext").write_text(f"basicConstraints=CA:FALSE\n{extra}", encoding="utf-8")
        _openssl(folder, "req", "-new", *_NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"{subject}{name}")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", f"{name}.ext")
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")


def write_security_files(folder: Path, java: Path, base: Path, password: str) -> None:
    """Basic authentication, client certificates by their common name, and one user, `admin`."""
    command = [java, "-cp", class_path(base, is_secured=True), "org.opensearch.security.tools.Hasher", "-p", password]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.findall(r"^\$2[aby]\$\S+$", done.stdout, re.MULTILINE)
    if not found:
        message = "could not hash the administrator's password: " + (done.stdout + done.stderr)[-1000:]
        raise RuntimeError(message)
    folder.mkdir(parents=True, exist_ok=True)
    basic = {
        "http_enabled": True,
        "order": 1,
        "http_authenticator": {"type": "basic", "challenge": True},
        "authentication_backend": {"type": "intern"},
    }
    certificate = {
        "http_enabled": True,
        "order": 0,
        "http_authenticator": {"type": "clientcert", "challenge": False, "config": {"username_attribute": "cn"}},
        "authentication_backend": {"type": "noop"},
    }
    authentication = {"http": {"anonymous_auth_enabled": False}, "authc": {"basic": basic, "certificate": certificate}}
    contents: dict[str, tuple[str, dict[str, Any]]] = {
        "config": ("config", {"config": {"dynamic": authentication}}),
        "internal_users": ("internalusers", {"admin": {"hash": found[0], "reserved": False, "backend_roles": ["admin"]}}),
        "roles_mapping": ("rolesmapping", {"all_access": {"reserved": False, "backend_roles": ["admin"]}}),
        "allowlist": ("allowlist", {"config": {"enabled": False, "requests": {}}}),
        "audit": ("audit", {"config": {"enabled": False}}),
        "roles": ("roles", {}),
        "action_groups": ("actiongroups", {}),
        "tenants": ("tenants", {}),
        "nodes_dn": ("nodesdn", {}),
    }
    for name, (kind, content) in contents.items():
        # JSON is YAML.
        text = json.dumps({"_meta": {"type": kind, "config_version": 2}, **content})
        (folder / f"{name}.yml").write_text(text, encoding="utf-8")


def secured_settings() -> dict[str, Any]:
    """Settings of a secured node."""
    files = (("pemcert", "node.pem"), ("pemkey", "node.key"), ("pemtrustedcas", "ca.pem"))
    tls = {f"plugins.security.ssl.{layer}.{name}_filepath": f"certs/{file}" for layer in ("transport", "http") for name, file in files}
    return tls | {
        "plugins.security.ssl.http.enabled": True,
        "plugins.security.ssl.http.clientauth_mode": "OPTIONAL",
        "plugins.security.nodes_dn": ["CN=node,O=portcullis-test"],
        "plugins.security.authcz.admin_dn": ["CN=admin,O=portcullis-test"],
        "plugins.security.allow_default_init_securityindex": True,
        "plugins.security.restapi.roles_enabled": ["all_access"],
    }


def _openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S607 - found on the path above
    if done.returncode:
        message = "openssl failed: " + done.stderr[-1000:]
        raise RuntimeError(message)
