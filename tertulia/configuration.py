"""The settings of a process, read once from environment variables.

Invariant: a server that no variable names is taken from the embedded stack that runs on the data folder; if none runs,
using that server raises an error that names the variable.
"""

import os
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from tertulia.core.errors import ConfigurationError
from tertulia.running_stack import RunningStack, find_running_stack
from tertulia.temporal.names import model_task_queue

if TYPE_CHECKING:
    from temporalio.envconfig import ClientConnectConfig

OFFLINE_MODEL = "offline"
_DEFAULT_ENDPOINT_MODEL = "gpt-5-mini"
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
_DATABASE_SCHEMES = ("postgresql+psycopg", "postgresql", "postgres")
_ENCRYPTION_KEYS_ENV = "TERTULIA_ENCRYPTION_KEYS"
ENCRYPTION_KEY_BYTES = 32
KEY_ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
"""The id of an encryption key: letters, digits, `.`, `_` and `-`, at most 32 characters."""


@dataclass(frozen=True)
class ModelEndpoint:
    """The endpoint that model calls go to. `offline` is never true when a real endpoint is configured."""

    base_url: str | None
    """URL up to and including `/v1`; None = the openai client's default."""
    api_key: str
    """The key; a placeholder where the endpoint needs none, because the openai client requires one."""
    offline: bool
    """True if this is the embedded offline model."""


class Configuration(BaseModel):
    """The settings of a Tertulia process.

    Settings of workers and of the API are checked at once. Servers are looked up on first use, so that a missing one
    matters only to code that needs it.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    environment: Mapping[str, str] = Field(repr=False)
    """The variables that this was read from, without the empty ones."""
    data_folder: Path = Field(Path(".tertulia"), validate_default=True, validation_alias="TERTULIA_DATA")
    """`TERTULIA_DATA`: the folder of the embedded stack. Default: `.tertulia` in the working directory."""
    task_queue: str = Field("tertulia", validation_alias="TERTULIA_TASK_QUEUE")
    """`TERTULIA_TASK_QUEUE`: Temporal task queue of workflows and database activities. Default: `tertulia`."""
    max_concurrent_model_calls: int = Field(100, ge=1, validation_alias="TERTULIA_MAX_CONCURRENT_MODEL_CALLS")
    """`TERTULIA_MAX_CONCURRENT_MODEL_CALLS`: model calls that one worker makes at a time, at least 1. Default: 100."""
    max_cached_conversations: int = Field(500, ge=0, validation_alias="TERTULIA_MAX_CACHED_CONVERSATIONS")
    """`TERTULIA_MAX_CACHED_CONVERSATIONS`: conversations that one worker keeps in memory, about 0.25 MB each, at least
    0. Default: 500. A conversation that is not cached is replayed for its next step; with 0, every step is replayed.
    Conversations that continued on another worker count until newer ones replace them.
    """
    model_calls_per_second: float | None = Field(None, gt=0, validation_alias="TERTULIA_MODEL_CALLS_PER_SECOND")
    """`TERTULIA_MODEL_CALLS_PER_SECOND`: model calls started per second by all workers together, greater than 0.
    Default: None = no limit.
    """
    graceful_shutdown_seconds: float = Field(30.0, ge=0, validation_alias="TERTULIA_GRACEFUL_SHUTDOWN_SECONDS")
    """`TERTULIA_GRACEFUL_SHUTDOWN_SECONDS`: seconds that a stopping worker lets running model calls finish, at least 0.
    Default: 30.
    """
    metrics_port: int | None = Field(None, ge=1, le=65535, validation_alias="TERTULIA_METRICS_PORT")
    """`TERTULIA_METRICS_PORT`: port on which a worker serves Prometheus metrics, 1 to 65535. Default: None = no
    metrics. Under `tertulia up` the first worker has this port, the second the next port, and so on.
    """
    metrics_host: str = Field("127.0.0.1", validation_alias="TERTULIA_METRICS_HOST")
    """`TERTULIA_METRICS_HOST`: IP address on which metrics are served. Default: 127.0.0.1 = this machine only; 0.0.0.0
    = every network, without authentication.
    """
    api_host: str = Field("127.0.0.1", validation_alias="TERTULIA_API_HOST")
    """`TERTULIA_API_HOST`: address on which the API listens. Default: 127.0.0.1 = this machine only."""
    api_port: int = Field(8230, ge=0, le=65535, validation_alias="TERTULIA_API_PORT")
    """`TERTULIA_API_PORT`: port on which the API listens, 0 to 65535; 0 = any free port. Default: 8230. `tertulia up`
    has an option for it.
    """
    max_body_bytes: int = Field(4 * 2**20, ge=1_024, validation_alias="TERTULIA_MAX_BODY_BYTES")
    """`TERTULIA_MAX_BODY_BYTES`: longest request body that the API reads, in bytes, at least 1024. Default: 4 MiB."""
    requests_per_minute: int = Field(6_000, ge=0, validation_alias="TERTULIA_REQUESTS_PER_MINUTE")
    """`TERTULIA_REQUESTS_PER_MINUTE`: requests that each key may send to one API process per minute, at least 0; 0 = no
    limit. Default: 6000.
    """
    organisation: str = Field("default", validation_alias="TERTULIA_ORGANISATION")
    """`TERTULIA_ORGANISATION`: organisation of the command line when it does not use the API. Default: `default`."""
    api_url: str | None = Field(None, validation_alias="TERTULIA_URL")
    """`TERTULIA_URL`: API that the command line uses. Default: None = Temporal and Postgres directly."""
    api_key: SecretStr | None = Field(None, validation_alias="TERTULIA_API_KEY")
    """`TERTULIA_API_KEY`: key that the command line sends to the API. Default: None = no key."""
    log_level: LogLevel = Field("INFO", validation_alias="TERTULIA_LOG_LEVEL")
    """`TERTULIA_LOG_LEVEL`: level of the log of workers and the API: DEBUG, INFO, WARNING or ERROR. Default: INFO.
    Libraries keep their own levels.
    """

    encryption_keys: dict[str, bytes] = Field({}, validation_alias=_ENCRYPTION_KEYS_ENV, repr=False)
    """`TERTULIA_ENCRYPTION_KEYS`: keys for the data that Temporal stores, as `id:base64` of 32 bytes each, newest
    first, separated by commas. The first key encrypts, every key decrypts. Default: none = nothing is encrypted.
    """

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings.

        Args:
            environment: the variables; None = the variables of this process. An empty variable counts as absent.

        Raises:
            ConfigurationError: a setting is malformed; the message names the variable.
        """
        source = os.environ if environment is None else environment
        variables = {name: text.strip() for name, text in source.items() if text.strip()}
        try:
            return cls.model_validate({**variables, "environment": variables})
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            raise ConfigurationError(_describe_problem(str(first["loc"][0]), str(first["input"]))) from None

    def with_variables(self, variables: Mapping[str, str]) -> Self:
        """Return the settings with these environment variables added or replaced.

        Raises:
            ConfigurationError: a setting is malformed; the message names the variable.
        """
        return self.from_environment({**self.environment, **variables}) if variables else self

    @field_validator("data_folder")
    @classmethod
    def _resolve_data_folder(cls, folder: Path) -> Path:
        return folder.expanduser().resolve()

    @field_validator("metrics_host")
    @classmethod
    def _check_metrics_host(cls, host: str) -> str:
        try:
            return str(ip_address(host))
        except ValueError:
            raise ConfigurationError(
                f"TERTULIA_METRICS_HOST: {host!r} is not an IP address, such as 127.0.0.1 or 0.0.0.0"
            ) from None

    @field_validator("encryption_keys", mode="before")
    @classmethod
    def _parse_encryption_keys(cls, text: str) -> dict[str, bytes]:
        keys: dict[str, bytes] = {}
        for number, entry in enumerate(text.split(","), start=1):
            key_id, secret = _parse_encryption_key(entry.strip(), f"{_ENCRYPTION_KEYS_ENV}: entry {number}")
            if key_id in keys:
                raise ConfigurationError(f"{_ENCRYPTION_KEYS_ENV}: entry {number}: an earlier entry has the same id")
            keys[key_id] = secret
        return keys

    @property
    def model_task_queue(self) -> str:
        """Task queue of the activities that call models."""
        return model_task_queue(self.task_queue)

    @property
    def is_database_configured(self) -> bool:
        """True if the environment names a database; the embedded one is not used then."""
        return "DATABASE_URL" in self.environment

    @property
    def is_temporal_configured(self) -> bool:
        """True if Temporal's variables or profile file name a server; the embedded one is not used then."""
        return bool(self._temporal_profile)

    @property
    def is_model_configured(self) -> bool:
        """True if the environment names a real model endpoint; the offline model is not used then."""
        return "OPENAI_API_KEY" in self.environment or "OPENAI_BASE_URL" in self.environment

    @cached_property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database, with the psycopg 3 driver.

        Raises:
            ConfigurationError: no database is configured and no stack runs, or the URL is malformed.
        """
        if self.is_database_configured:
            return _add_driver(self.environment["DATABASE_URL"])
        if self._stack is None or self._stack.database_url is None:
            self._raise_missing("database", "DATABASE_URL")
        return self._stack.database_url

    @cached_property
    def model_endpoint(self) -> ModelEndpoint:
        """The endpoint that model calls go to.

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
        """`TERTULIA_MODEL`: the model of agents that name none. Default: the offline model, or `gpt-5-mini`."""
        if "TERTULIA_MODEL" in self.environment:
            return self.environment["TERTULIA_MODEL"]
        return OFFLINE_MODEL if self.model_endpoint.offline else _DEFAULT_ENDPOINT_MODEL

    def temporal_connect_config(self) -> "ClientConnectConfig":
        """Return keyword arguments for `Client.connect`; `target_host` and `namespace` are always present.

        Raises:
            ConfigurationError: no server is configured and no stack runs, or Temporal's settings are malformed.
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
        """`host:port` of the Temporal server. Raises the errors of `temporal_connect_config`."""
        return self.temporal_connect_config()["target_host"]

    @property
    def temporal_namespace(self) -> str:
        """The namespace of the conversations. Raises the errors of `temporal_connect_config`."""
        return self.temporal_connect_config()["namespace"]

    @property
    def temporal_ui_url(self) -> str | None:
        """`TERTULIA_TEMPORAL_UI`, or the URL of the embedded server's UI, without a trailing slash; None = no UI."""
        configured = self.environment.get("TERTULIA_TEMPORAL_UI")
        if configured or self.is_temporal_configured:
            return configured.rstrip("/") if configured else None
        return self._stack.temporal_ui_url if self._stack else None

    @cached_property
    def _temporal_profile(self) -> "ClientConnectConfig":
        # Imported here: a client of the REST API does not load temporalio.
        from temporalio.envconfig import ClientConfig

        try:
            return ClientConfig.load_client_connect_config(override_env_vars=dict(self.environment))
        except (RuntimeError, ValueError, OSError) as error:
            raise ConfigurationError(
                f"Temporal's client settings cannot be read ({error}); check the variables TEMPORAL_* and the profile"
                " file that TEMPORAL_CONFIG_FILE names"
            ) from error

    @cached_property
    def _stack(self) -> RunningStack | None:
        return find_running_stack(self.data_folder)

    @property
    def _offline_url(self) -> str | None:
        """`TERTULIA_OFFLINE_MODEL_URL`, for an offline model outside of a stack, or the URL of the embedded one."""
        configured = self.environment.get("TERTULIA_OFFLINE_MODEL_URL")
        return configured or (self._stack.model_base_url if self._stack else None)

    def _raise_missing(self, what: str, variable: str) -> NoReturn:
        raise ConfigurationError(
            f"no {what}: no stack runs on the folder {str(self.data_folder)!r}; start one with `tertulia up`, name the"
            f" folder of a running one with --data or TERTULIA_DATA, or set {variable}"
        )


def _describe_problem(variable: str, value: str) -> str:
    field = next(field for field in Configuration.model_fields.values() if field.validation_alias == variable)
    kinds = (field.annotation, *get_args(field.annotation))
    if get_origin(field.annotation) is Literal:
        expected = f"one of {', '.join(get_args(field.annotation))}"
    else:
        expected = " ".join(["a whole number" if int in kinds else "a number", *map(_describe_bound, field.metadata)])
    default = "switch this off" if field.default is None else f"use the default, {field.default}"
    return f"{variable}: {value!r} is not {expected}; unset the variable to {default}"


def _describe_bound(bound: object) -> str:
    for name, words in (("ge", "of at least"), ("gt", "greater than"), ("le", "and at most")):
        if hasattr(bound, name):
            return f"{words} {getattr(bound, name)}"
    return ""


def _add_driver(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    # The URL may hold a password: no message shows it.
    if not separator or scheme not in _DATABASE_SCHEMES:
        raise ConfigurationError("DATABASE_URL: expected a URL that begins with postgresql://")
    # Imported here: a client of the REST API does not load sqlalchemy.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    with_driver = f"{_DATABASE_SCHEMES[0]}://{rest}"
    try:
        port = make_url(with_driver).port
    except (ValueError, ArgumentError):
        port = 0
    if port is not None and not 1 <= port <= 65535:
        raise ConfigurationError(
            "DATABASE_URL: expected postgresql://user:password@host:port/database with a port from 1 to 65535;"
            " special characters of the password are written as %XX"
        )
    return with_driver


def _parse_encryption_key(entry: str, location: str) -> tuple[str, bytes]:
    # No message shows the entry. Not a ValueError: pydantic would add the entry to it.
    key_id, separator, text = entry.partition(":")
    if not separator or not KEY_ID_PATTERN.fullmatch(key_id):
        raise ConfigurationError(f"{location}: expected id:base64; `tertulia encryption new-key` creates a key")
    try:
        secret = b64decode(text, validate=True)
    except ValueError:
        raise ConfigurationError(f"{location}: the text after the colon is not base64") from None
    if len(secret) != ENCRYPTION_KEY_BYTES:
        raise ConfigurationError(f"{location}: expected a key of {ENCRYPTION_KEY_BYTES} bytes, got {len(secret)}")
    return key_id, secret
