"""The environment, read once. A part nobody configured comes from the running embedded stack, or is a clear error."""

import os
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from tertulia.core.errors import ConfigurationError
from tertulia.temporal.names import model_task_queue

if TYPE_CHECKING:
    from temporalio.envconfig import ClientConnectConfig

STACK_FILE = "stack.json"
OFFLINE_MODEL = "offline"
_DEFAULT_ENDPOINT_MODEL = "gpt-5-mini"
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
_DATABASE_SCHEMES = ("postgresql+psycopg", "postgresql", "postgres")
_ENCRYPTION_KEYS_ENV = "TERTULIA_ENCRYPTION_KEYS"
ENCRYPTION_KEY_BYTES = 32
KEY_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
"""The id of an encryption key: letters, digits, `.`, `_` and `-`, 32 characters at most."""


class RunningStack(BaseModel):
    """What a running embedded stack offers. A part it does not run (because it is configured elsewhere) is None."""

    model_config = ConfigDict(frozen=True)

    pid: int
    """The process that runs the stack."""
    database_url: str | None = None
    """SQLAlchemy URL of the embedded Postgres."""
    temporal_address: str | None = None
    """host:port of the embedded Temporal server."""
    temporal_namespace: str = "default"
    """The namespace that conversations live in."""
    temporal_ui_url: str | None = None
    """Where a browser finds Temporal's UI."""
    model_base_url: str | None = None
    """The offline model's OpenAI-compatible endpoint, up to and including /v1."""
    api_url: str | None = None
    """Where the API answers, without a slash at its end."""


class StackFile(BaseModel):
    """The part of the stack file that clients read."""

    running: RunningStack | None = None
    """Present from the moment the servers answer until the stack stops."""


@dataclass(frozen=True)
class ModelEndpoint:
    """Where model calls go. `offline` is never true when a real endpoint is configured."""

    base_url: str | None
    """None = the SDK's own default."""
    api_key: str
    """A dummy where the endpoint needs none: the SDK insists on one."""
    offline: bool
    """True when the embedded offline model answers."""


class Configuration(BaseModel):
    """What a Tertulia process needs to know. Addresses are looked up when first asked for: a missing one only
    troubles who needs it. Worker settings are checked at once.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    environment: Mapping[str, str] = Field(repr=False)
    """The variables this was read from, without the empty ones."""
    data: Path = Field(Path(".tertulia"), validate_default=True, validation_alias="TERTULIA_DATA")
    """`TERTULIA_DATA`: the embedded stack's folder."""
    task_queue: str = Field("tertulia", validation_alias="TERTULIA_TASK_QUEUE")
    """`TERTULIA_TASK_QUEUE`: where workflows and database activities run."""
    max_concurrent_model_calls: int = Field(100, ge=1, validation_alias="TERTULIA_MAX_CONCURRENT_MODEL_CALLS")
    """`TERTULIA_MAX_CONCURRENT_MODEL_CALLS`: model calls one worker makes at a time."""
    max_cached_conversations: int = Field(500, ge=0, validation_alias="TERTULIA_MAX_CACHED_CONVERSATIONS")
    """`TERTULIA_MAX_CACHED_CONVERSATIONS`: how many a worker keeps in memory, about 0.25 MB each; one that it does not
    is replayed when it goes on (0 = every step is: slow, and a good test). Those that went on elsewhere count until
    newer ones take their place.
    """
    model_calls_per_second: float | None = Field(None, gt=0, validation_alias="TERTULIA_MODEL_CALLS_PER_SECOND")
    """`TERTULIA_MODEL_CALLS_PER_SECOND`: a limit over all workers together; None = no limit."""
    graceful_shutdown_seconds: float = Field(30.0, ge=0, validation_alias="TERTULIA_GRACEFUL_SHUTDOWN_SECONDS")
    """`TERTULIA_GRACEFUL_SHUTDOWN_SECONDS`: how long a worker that is told to stop lets running model calls finish."""
    metrics_port: int | None = Field(None, ge=1, le=65535, validation_alias="TERTULIA_METRICS_PORT")
    """`TERTULIA_METRICS_PORT`: where a worker serves Prometheus metrics; None = nowhere. Under `tertulia up` the first
    worker has this port, each further one the next.
    """
    api_host: str = Field("127.0.0.1", validation_alias="TERTULIA_API_HOST")
    """`TERTULIA_API_HOST`: the address that the API listens on."""
    api_port: int = Field(8230, ge=0, le=65535, validation_alias="TERTULIA_API_PORT")
    """`TERTULIA_API_PORT`: the port that the API listens on; 0 = any free one. `tertulia up` has an option for it."""
    max_body_bytes: int = Field(4 * 2**20, ge=1_024, validation_alias="TERTULIA_MAX_BODY_BYTES")
    """`TERTULIA_MAX_BODY_BYTES`: the longest request body that the API reads."""
    requests_per_minute: int = Field(6_000, ge=0, validation_alias="TERTULIA_REQUESTS_PER_MINUTE")
    """`TERTULIA_REQUESTS_PER_MINUTE`: how many requests each key may make of one API process; 0 = no limit."""
    organisation: str = Field("default", validation_alias="TERTULIA_ORGANISATION")
    """`TERTULIA_ORGANISATION`: the organisation of the command line where it uses the servers themselves."""
    api_url: str | None = Field(None, validation_alias="TERTULIA_URL")
    """`TERTULIA_URL`: the API that the command line speaks with; None = it speaks with the servers themselves."""
    api_key: SecretStr | None = Field(None, validation_alias="TERTULIA_API_KEY")
    """`TERTULIA_API_KEY`: the key that the command line shows to the API."""
    log_level: LogLevel = Field("INFO", validation_alias="TERTULIA_LOG_LEVEL")
    """`TERTULIA_LOG_LEVEL`: what workers and the API tell of themselves; libraries, which may tell more, say little."""

    encryption_keys: dict[str, bytes] = Field({}, validation_alias=_ENCRYPTION_KEYS_ENV, repr=False)
    """`TERTULIA_ENCRYPTION_KEYS`: `id:base64` of 32 bytes each, newest first, separated by commas. The first encrypts
    what Temporal gets to hold, all of them decrypt; without any, nothing is encrypted.
    """

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read `environment`, by default this process's own. An empty variable counts as absent.

        Raises:
            ConfigurationError: a setting is malformed; the message names the variable.
        """
        source = os.environ if environment is None else environment
        variables = {name: text.strip() for name, text in source.items() if text.strip()}
        try:
            return cls.model_validate({**variables, "environment": variables})
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigurationError(f"{first['loc'][0]}: {first['msg']}, got {first['input']!r}") from None

    @field_validator("data")
    @classmethod
    def _resolve_data(cls, data: Path) -> Path:
        return data.expanduser().resolve()

    @field_validator("encryption_keys", mode="before")
    @classmethod
    def _parse_encryption_keys(cls, text: str) -> dict[str, bytes]:
        keys: dict[str, bytes] = {}
        for number, entry in enumerate(text.split(","), start=1):
            key_id, secret = _parse_encryption_key(entry.strip(), f"{_ENCRYPTION_KEYS_ENV}: entry {number}")
            if key_id in keys:
                raise ConfigurationError(f"{_ENCRYPTION_KEYS_ENV}: entry {number}: an entry before it has the same id")
            keys[key_id] = secret
        return keys

    @property
    def model_task_queue(self) -> str:
        """Where model calls run, so that they are limited, shared and scaled apart."""
        return model_task_queue(self.task_queue)

    @property
    def is_database_configured(self) -> bool:
        """Whether the environment names a database, so that the embedded one is not used."""
        return "DATABASE_URL" in self.environment

    @property
    def is_temporal_configured(self) -> bool:
        """Whether Temporal's own variables or profile file name a server, so that the embedded one is not used."""
        return bool(self._temporal_profile)

    @property
    def is_model_configured(self) -> bool:
        """Whether the environment names a real model endpoint, so that the offline model is not used."""
        return "OPENAI_API_KEY" in self.environment or "OPENAI_BASE_URL" in self.environment

    @cached_property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database, with the psycopg 3 driver.

        Raises:
            ConfigurationError: no database is configured and no stack runs, or the URL is not one of Postgres.
        """
        if self.is_database_configured:
            return _add_driver(self.environment["DATABASE_URL"])
        if self._stack is None or self._stack.database_url is None:
            self._raise_missing("database", "DATABASE_URL")
        return self._stack.database_url

    @cached_property
    def model_endpoint(self) -> ModelEndpoint:
        """Where model calls go.

        Raises:
            ConfigurationError: no endpoint is configured and no stack with an offline model runs.
        """
        if self.is_model_configured:
            base_url = self.environment.get("OPENAI_BASE_URL")
            api_key = self.environment.get("OPENAI_API_KEY", "not-needed")
            return ModelEndpoint(base_url, api_key, offline=base_url is not None and base_url == self._offline_url)
        if self._offline_url is None:
            self._raise_missing("model endpoint", "OPENAI_API_KEY or OPENAI_BASE_URL")
        return ModelEndpoint(self._offline_url, OFFLINE_MODEL, offline=True)

    @cached_property
    def default_model(self) -> str:
        """`TERTULIA_MODEL`: the model of agents that name none."""
        if "TERTULIA_MODEL" in self.environment:
            return self.environment["TERTULIA_MODEL"]
        return OFFLINE_MODEL if self.model_endpoint.offline else _DEFAULT_ENDPOINT_MODEL

    def temporal_connect_config(self) -> "ClientConnectConfig":
        """Keyword arguments for `Client.connect`; `target_host` and `namespace` are always present.

        Raises:
            ConfigurationError: no server is configured and no stack runs, or Temporal's own settings are malformed.
        """
        config: ClientConnectConfig = {"target_host": "localhost:7233", "namespace": "default"}
        if self.is_temporal_configured:
            config.update(self._temporal_profile)
            return config
        if self._stack is None or self._stack.temporal_address is None:
            self._raise_missing("Temporal server", "TEMPORAL_ADDRESS")
        config["target_host"] = self._stack.temporal_address
        config["namespace"] = self._stack.temporal_namespace
        return config

    @property
    def temporal_address(self) -> str:
        """host:port of the Temporal server. Raises as `temporal_connect_config` does."""
        return self.temporal_connect_config()["target_host"]

    @property
    def temporal_namespace(self) -> str:
        """The namespace that conversations live in. Raises as `temporal_connect_config` does."""
        return self.temporal_connect_config()["namespace"]

    @property
    def temporal_ui_url(self) -> str | None:
        """`TERTULIA_TEMPORAL_UI`, or the embedded server's UI, without a slash at its end; None where there is none."""
        configured = self.environment.get("TERTULIA_TEMPORAL_UI")
        if configured or self.is_temporal_configured:
            return configured.rstrip("/") if configured else None
        return self._stack.temporal_ui_url if self._stack else None

    @cached_property
    def _temporal_profile(self) -> "ClientConnectConfig":
        # Imported here: who speaks with the API alone needs no Temporal.
        from temporalio.envconfig import ClientConfig

        try:
            return ClientConfig.load_client_connect_config(override_env_vars=dict(self.environment))
        except (RuntimeError, ValueError, OSError) as error:
            raise ConfigurationError(f"Temporal's client settings cannot be read: {error}") from error

    @cached_property
    def _stack(self) -> RunningStack | None:
        return find_running_stack(self.data)

    @property
    def _offline_url(self) -> str | None:
        """`TERTULIA_OFFLINE_MODEL_URL`, for an offline model run by other means, or the embedded stack's."""
        configured = self.environment.get("TERTULIA_OFFLINE_MODEL_URL")
        return configured or (self._stack.model_base_url if self._stack else None)

    def _raise_missing(self, what: str, variable: str) -> NoReturn:
        raise ConfigurationError(f"no {what}: start one with `tertulia up`, or set {variable}")


def find_running_stack(data: Path) -> RunningStack | None:
    """The stack that runs on the folder `data`; None when none does, or when it was killed and left its file behind."""
    try:
        running = StackFile.model_validate_json((data / STACK_FILE).read_bytes()).running
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        raise ConfigurationError(f"{data / STACK_FILE} cannot be read; stop the stack and remove it") from error
    return running if running and _is_alive(running.pid) else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _add_driver(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _DATABASE_SCHEMES:
        # The URL itself may hold a password, so it stays out of the message.
        raise ConfigurationError("DATABASE_URL: expected a URL that begins with postgresql://")
    return f"{_DATABASE_SCHEMES[0]}://{rest}"


def _parse_encryption_key(entry: str, location: str) -> tuple[str, bytes]:
    """The key's id and its bytes. The entry itself stays out of every message, and so this raises no ValueError, which
    pydantic would show with it.
    """
    key_id, separator, text = entry.partition(":")
    if not separator or not KEY_ID_PATTERN.fullmatch(key_id):
        raise ConfigurationError(f"{location}: expected id:base64; `tertulia encryption new-key` makes one")
    try:
        secret = b64decode(text, validate=True)
    except ValueError:
        raise ConfigurationError(f"{location}: what follows the colon is not base64") from None
    if len(secret) != ENCRYPTION_KEY_BYTES:
        raise ConfigurationError(f"{location}: a key has {ENCRYPTION_KEY_BYTES} bytes, this one has {len(secret)}")
    return key_id, secret
