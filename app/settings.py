"""Typed settings, read once: `PORTCULLIS_*` environment variables over one TOML file. Unknown keys are refused."""

import json
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from app.errors import ConfigurationError

_Item = TypeVar("_Item")
ROOT = Path(__file__).resolve().parent.parent
"""The installation: where policies/, migrations/, examples/ and models/ lie by default."""
OptionalFile = Annotated[Path | None, BeforeValidator(lambda given: given or None)]
"""A file that need not be named: an empty variable names none, and not the folder one is in."""


def _listed(given: object) -> object:
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("["):
        try:
            return json.loads(given)
        except ValueError as error:
            message = "this begins like a JSON list and is none: leave the brackets out, and put commas between"
            raise ValueError(message) from error
    return tuple(one.strip() for one in given.split(",") if one.strip())


ListOf = Annotated[tuple[_Item, ...], NoDecode, BeforeValidator(_listed)]
"""One value, several with commas between, or a JSON list."""
DEMO_MARKER = "demo.json"
"""File in the data folder of a demo installation that holds its address."""
_PREFIX = "PORTCULLIS_"
_OF_TESTS = "PORTCULLIS_TEST_"
_NOT_SETTINGS = {"PORTCULLIS_CONFIG", "PORTCULLIS_SHARED"}


class Settings(BaseSettings):
    """All settings. `portcullis doctor --explain` prints this list with types and defaults."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="forbid", frozen=True)

    data: Annotated[Path, Field(description="Data folder of an embedded installation: database, index, keys.")] = Path("data")
    policies: Annotated[Path, Field(description="Folder with the policy: model.conf, rules.csv, labels.yaml, redaction.yaml, cases/.")] = (
        ROOT / "policies"
    )
    models: Annotated[Path, Field(description="Folder with the model folders embedder/ and ner-en/, made by `make models`.")] = (
        ROOT / "models"
    )
    migrations: Annotated[Path, Field(description="Folder with the Alembic history.")] = ROOT / "migrations"
    examples: Annotated[Path, Field(description="Folder with the sample company, for demo mode.")] = ROOT / "examples" / "company"
    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535, description="Port to listen on.")] = 8080
    public_url: Annotated[str, Field(description="Address under which browsers reach the gateway; empty: http://HOST:PORT.")] = ""
    tenant: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$", description="The tenant this installation serves.")] = "sample"
    company: Annotated[str, Field(max_length=100, description="Name shown on pages.")] = "Sample Company"
    demo: Annotated[bool, Field(description="Demo mode: bundled issuer with one-click people, loopback only.")] = False

    database_url: Annotated[
        SecretStr, Field(description="postgresql://USER:PASSWORD@HOST/DATABASE as the gateway's role; empty: SQLite in the data folder.")
    ] = SecretStr("")
    database_owner_url: Annotated[
        SecretStr, Field(description="The same database as its owner, for `portcullis db upgrade` only; empty: database_url.")
    ] = SecretStr("")
    background: Annotated[
        bool, Field(description="Whether `serve` also works on documents and signs; off where `worker` and `signer` run beside it.")
    ] = True
    verifier_key: Annotated[
        str, Field(description="Public key of a signer that runs elsewhere, as it prints it; empty: this process signs.")
    ] = ""
    digest_key: Annotated[
        SecretStr | None, Field(description="32 bytes as base64, the same for every replica; empty: a file in the data folder.")
    ] = None

    opensearch_url: Annotated[
        ListOf[str],
        Field(description="Node addresses, https://HOST:PORT, with commas between or as a JSON list; empty: the embedded index."),
    ] = ()
    opensearch_user: Annotated[str, Field(description="User for basic authentication.")] = ""
    opensearch_password: Annotated[SecretStr | None, Field(description="Password of that user.")] = None
    opensearch_token: Annotated[SecretStr | None, Field(description="Bearer token, instead of a user.")] = None
    opensearch_ca_file: Annotated[OptionalFile, Field(description="PEM file: the only authority whose certificates are trusted.")] = None
    opensearch_cert_file: Annotated[OptionalFile, Field(description="PEM client certificate, for mutual TLS.")] = None
    opensearch_key_file: Annotated[OptionalFile, Field(description="PEM key of the client certificate.")] = None
    opensearch_aws_region: Annotated[str, Field(description="Region of an Amazon OpenSearch domain: requests are signed (SigV4).")] = ""
    opensearch_prefix: Annotated[
        str, Field(pattern=r"^[a-z][a-z0-9-]{0,40}$", description="What the names of the gateway's indexes and aliases begin with.")
    ] = "portcullis"
    opensearch_shards: Annotated[int, Field(ge=1, le=64, description="Primary shards of a new index.")] = 1
    opensearch_replicas: Annotated[int, Field(ge=0, le=8, description="Copies of each shard of a new index.")] = 1
    opensearch_refresh: Annotated[str, Field(pattern=r"^\d+(ms|s)$", description="refresh_interval of a new index.")] = "1s"
    opensearch_knn_engine: Annotated[str, Field(pattern="^(lucene|faiss)$", description="Vector engine of a new index.")] = "lucene"
    opensearch_own_index: Annotated[
        ListOf[str], Field(description="Collections that get an index of their own, with commas between or as a JSON list.")
    ] = ()
    opensearch_timeout_s: Annotated[float, Field(gt=0, le=60, description="Longest wait for one request, in seconds.")] = 5.0

    oidc_issuer: Annotated[str, Field(description="OpenID Connect issuer whose tokens are accepted.")] = ""
    oidc_ca_file: Annotated[
        OptionalFile, Field(description="Authority that the issuer's certificate must come from; the public ones when not given.")
    ] = None
    oidc_audience: Annotated[str, Field(description="Audience an access token must carry.")] = "portcullis-api"
    oidc_client_id: Annotated[str, Field(description="Client id of the browser sign-in.")] = "portcullis"
    oidc_client_secret: Annotated[SecretStr | None, Field(description="Client secret, for confidential clients.")] = None
    oidc_algorithms: Annotated[
        ListOf[Annotated[str, Field(pattern="^(RS256|RS384|RS512|PS256|ES256|ES384|ES512)$")]],
        Field(min_length=1, description="Signature algorithms accepted, asymmetric ones only; with commas between or as a JSON list."),
    ] = ("RS256", "ES256")
    oidc_leeway_s: Annotated[int, Field(ge=0, le=300, description="Clock difference allowed, in seconds.")] = 30
    claim_groups: Annotated[str, Field(description="Claim that holds the groups.")] = "groups"
    claim_roles: Annotated[str, Field(description="Claim that holds the roles.")] = "roles"
    claim_clearance: Annotated[str, Field(description="Claim that holds the clearance label.")] = "clearance"
    claim_purposes: Annotated[str, Field(description="Claim that holds the assigned purposes.")] = "purposes"

    llm_base_url: Annotated[str, Field(description="OpenAI-compatible endpoint; empty: the extractive answerer, no network.")] = ""
    llm_model: Annotated[str, Field(description="Model name at that endpoint.")] = ""
    llm_api_key: Annotated[SecretStr | None, Field(description="Key for that endpoint.")] = None
    llm_is_external: Annotated[bool, Field(description="Whether that endpoint is outside: then policy must grant generate.external.")] = (
        True
    )
    llm_allows_http: Annotated[
        bool, Field(description="Whether questions and passages may travel in clear, by http:// to another machine outside the cluster.")
    ] = False
    llm_timeout_s: Annotated[float, Field(gt=0, le=600, description="Longest wait for a whole reply, in seconds.")] = 60.0

    embed_threads: Annotated[int, Field(ge=1, le=64, description="Threads of the local embedder for documents.")] = 2
    worker_nice: Annotated[
        int, Field(ge=0, le=19, description="How far `worker` steps back for other processes of its machine (nice); 0: not at all.")
    ] = 10
    max_document_bytes: Annotated[int, Field(ge=1024, description="Largest document taken, in bytes.")] = 50 * 1024 * 1024
    max_body_bytes: Annotated[int, Field(ge=1024, description="Largest other request body, in bytes.")] = 1024 * 1024
    parse_memory_bytes: Annotated[int, Field(ge=64 * 1024 * 1024, description="Memory a parser process may use, in bytes.")] = (
        1024 * 1024 * 1024
    )
    parse_seconds: Annotated[int, Field(ge=1, le=600, description="Time a parser process may take, in seconds.")] = 60
    purge_after_days: Annotated[int, Field(ge=0, le=3650, description="Days after which withdrawn or replaced text is deleted.")] = 30
    checkpoint_every_s: Annotated[float, Field(gt=0, description="How often the signer looks for new entries, in seconds.")] = 1.0
    policy_poll_s: Annotated[float, Field(gt=0, description="How often the policy folder is looked at, in seconds.")] = 1.0
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Lowest level that is logged.")] = "INFO"

    @property
    def base_url(self) -> str:
        """The gateway's own address, without a final slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def record_url(self) -> str:
        """SQLAlchemy URL of the database of record."""
        return self.database_url.get_secret_value() or self.embedded_url

    @property
    def embedded_url(self) -> str:
        """SQLAlchemy URL of the database in the data folder."""
        return f"sqlite+aiosqlite:///{self.data.resolve() / 'portcullis.db'}"

    @property
    def owner_setting(self) -> str:
        """The setting that `owner_url` comes from, for messages."""
        return "PORTCULLIS_DATABASE_OWNER_URL" if self.database_owner_url.get_secret_value() else "PORTCULLIS_DATABASE_URL"

    @property
    def owner_url(self) -> str:
        """SQLAlchemy URL under which the schema is changed."""
        return self.database_owner_url.get_secret_value() or self.record_url

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order: arguments, environment, `*_FILE` secrets, TOML file named by PORTCULLIS_CONFIG."""
        del dotenv_settings, file_secret_settings
        file = os.environ.get("PORTCULLIS_CONFIG")
        toml = (TomlConfigSettingsSource(settings_cls, Path(file)),) if file else ()
        return (init_settings, env_settings, *toml)


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 - settings of every type; pydantic checks them
    """Read the settings. Raises ConfigurationError naming each key that is wrong and what it may be."""
    known = {_PREFIX + name.upper() for name in Settings.model_fields}
    given = {name for name in os.environ if name.startswith(_PREFIX) and not name.startswith(_OF_TESTS)} - _NOT_SETTINGS
    files = {name for name in given if name.endswith("_FILE") and name.removesuffix("_FILE") in known}
    unknown = sorted(given - known - files)
    if unknown:
        message = f"Unknown settings: {', '.join(unknown)}. `portcullis doctor --explain` lists them all."
        raise ConfigurationError(message)
    if (file := os.environ.get("PORTCULLIS_CONFIG")) and not Path(file).is_file():
        # Passed over in silence, everything would go on, and look right, on an empty installation of its own.
        message = f"PORTCULLIS_CONFIG names {file}, which is no file: mend the path."
        raise ConfigurationError(message)
    secrets = {name.removesuffix("_FILE").removeprefix(_PREFIX).lower(): _secret(name) for name in files}
    try:
        return Settings(**{**secrets, **{key: value for key, value in overrides.items() if value is not None}})
    except ValidationError as error:
        problems = "; ".join(f"{_PREFIX}{str(one['loc'][0]).upper()}: {one['msg']}" for one in error.errors())
        message = f"Settings are not valid: {problems}."
        raise ConfigurationError(message) from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"The settings file that PORTCULLIS_CONFIG names cannot be read: {error}."
        raise ConfigurationError(message) from error


def _secret(name: str) -> str:
    path = Path(os.environ[name])
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        message = f"{name}: the file {path} cannot be read: {error.strerror}."
        raise ConfigurationError(message) from error
    except UnicodeDecodeError as error:
        message = f"{name}: the file {path} holds bytes that are no text. Keys are given as base64: `base64 --wrap=0 {path}` prints one."
        raise ConfigurationError(message) from error
