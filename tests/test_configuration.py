"""Settings: the environment precedes the running stack; where neither names a server, an error does."""

import os
import re
from pathlib import Path

import pytest

from tertulia.configuration import Configuration, ModelEndpoint
from tertulia.core.errors import ConfigurationError
from tertulia.running_stack import RunningStack, StackFile

RUNNING = RunningStack(
    pid=os.getpid(),
    database_url="postgresql+psycopg://postgres@/tertulia?host=%2Fsockets&port=5432",
    temporal_address="127.0.0.1:17233",
    temporal_ui_url="http://127.0.0.1:18233",
    model_base_url="http://127.0.0.1:18234/v1",
)


def configure(data: Path, **variables: str) -> Configuration:
    """Read these variables, without the Temporal profile of the machine."""
    variables = {"TEMPORAL_CONFIG_FILE": os.devnull} | variables
    return Configuration.from_environment({"TERTULIA_DATA": str(data), **variables})


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """A data folder with a running stack."""
    (tmp_path / "stack.json").write_text(StackFile(running=RUNNING).model_dump_json())
    return tmp_path


def test_running_stack_configures_everything(running: Path) -> None:
    configuration = configure(running)
    assert configuration.database_url == RUNNING.database_url
    assert configuration.temporal_address == RUNNING.temporal_address
    assert configuration.temporal_namespace == "default"
    assert configuration.temporal_ui_url == RUNNING.temporal_ui_url
    assert configuration.model_endpoint == ModelEndpoint(RUNNING.model_base_url, "offline", offline=True)
    assert configuration.default_model == "offline"


def test_environment_precedes_running_stack(running: Path) -> None:
    configuration = configure(
        running,
        DATABASE_URL="postgresql://there/db",
        TEMPORAL_ADDRESS="there:7233",
        TEMPORAL_NAMESPACE="talks",
        OPENAI_API_KEY="secret",
        TERTULIA_MODEL="chatty",
    )
    assert configuration.database_url == "postgresql+psycopg://there/db"
    assert configuration.temporal_connect_config() == {"target_host": "there:7233", "namespace": "talks"}
    assert configuration.model_endpoint == ModelEndpoint(None, "secret", offline=False)
    assert configuration.default_model == "chatty"


@pytest.mark.parametrize("data", ["nothing.here", "."], ids=["no stack file", "no running stack in it"])
def test_missing_parts_fail_on_use_only(tmp_path: Path, data: str) -> None:
    (tmp_path / "stack.json").write_text('{"ports": {"temporal": 7233}, "running": null}')
    configuration = configure(tmp_path / data)
    searched = re.escape(repr(str(tmp_path / data)))
    remedy = "start one with `tertulia up`, name the folder of a running one with --data or TERTULIA_DATA, or set"
    with pytest.raises(
        ConfigurationError, match=rf"^no database: no stack runs on the folder {searched}; {remedy} DATABASE_URL$"
    ):
        _ = configuration.database_url
    with pytest.raises(ConfigurationError, match=r"^no Temporal server: .* TEMPORAL_ADDRESS$"):
        configuration.temporal_connect_config()
    with pytest.raises(ConfigurationError, match=r"^no model endpoint: .* OPENAI_API_KEY or OPENAI_BASE_URL$"):
        _ = configuration.model_endpoint
    assert configuration.temporal_ui_url is None
    assert configure(tmp_path / data, DATABASE_URL="postgres://x/y").database_url == "postgresql+psycopg://x/y"
    assert configure(tmp_path / data, TERTULIA_MODEL="any").default_model == "any"


def test_killed_stack_does_not_count_as_running(tmp_path: Path) -> None:
    killed = RUNNING.model_copy(update={"pid": 2**22 + 1})
    (tmp_path / "stack.json").write_text(StackFile(running=killed).model_dump_json())
    with pytest.raises(ConfigurationError, match="no database"):
        _ = configure(tmp_path).database_url


def test_unreadable_stack_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text("{half")
    with pytest.raises(ConfigurationError, match=r"stack\.json"):
        _ = configure(tmp_path).database_url


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgres_url_schemes_get_driver(tmp_path: Path, scheme: str) -> None:
    url = configure(tmp_path, DATABASE_URL=f"{scheme}://me:pw@there:5433/db?sslmode=require").database_url
    assert url == "postgresql+psycopg://me:pw@there:5433/db?sslmode=require"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:hush@there/db",
        "postgresql+asyncpg://me:hush@there/db",
        "me:hush@there",
        "postgresql://me:hush@there:port/db",
        "postgresql://me:hush@there:65536/db",
    ],
)
def test_malformed_database_url_hides_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL") as raised:
        _ = configure(tmp_path, DATABASE_URL=url).database_url
    assert "hush" not in str(raised.value)


def test_base_url_alone_is_real_endpoint(running: Path) -> None:
    configuration = configure(running, OPENAI_BASE_URL="http://elsewhere/v1")
    assert configuration.model_endpoint == ModelEndpoint("http://elsewhere/v1", "not-needed", offline=False)
    assert configuration.default_model != "offline"


def test_stack_model_url_is_offline(running: Path) -> None:
    told = {"OPENAI_BASE_URL": str(RUNNING.model_base_url), "OPENAI_API_KEY": "offline"}
    assert configure(running, **told).model_endpoint.offline
    assert configure(running, **told).default_model == "offline"


def test_temporal_profile_is_used(running: Path) -> None:
    profile = running / "temporal.toml"
    profile.write_text('[profile.default]\naddress = "cloud:7233"\nnamespace = "ours"\napi_key = "k"\n')
    configuration = configure(running, TEMPORAL_CONFIG_FILE=str(profile))
    assert configuration.temporal_connect_config() == {
        "target_host": "cloud:7233",
        "namespace": "ours",
        "api_key": "k",
        "tls": True,
    }
    assert configuration.temporal_ui_url is None, "the embedded UI shows another server"


def test_missing_temporal_profile_is_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"Temporal's client settings .*nowhere"):
        configure(tmp_path, TEMPORAL_PROFILE="nowhere").temporal_connect_config()


def test_temporal_ui_is_configurable(tmp_path: Path) -> None:
    configuration = configure(tmp_path, TEMPORAL_ADDRESS="there:7233", TERTULIA_TEMPORAL_UI="https://ui.there/")
    assert configuration.temporal_ui_url == "https://ui.there"


def test_worker_settings_defaults_and_values(tmp_path: Path) -> None:
    default = configure(tmp_path)
    assert (default.task_queue, default.model_task_queue) == ("tertulia", "tertulia-models")
    assert (default.max_concurrent_model_calls, default.model_calls_per_second) == (100, None)
    assert (default.graceful_shutdown_seconds, default.metrics_port) == (30.0, None)
    assert default.max_cached_conversations == 500
    tuned = configure(
        tmp_path,
        TERTULIA_TASK_QUEUE="mine",
        TERTULIA_MAX_CONCURRENT_MODEL_CALLS="7",
        TERTULIA_MODEL_CALLS_PER_SECOND="0.5",
        TERTULIA_GRACEFUL_SHUTDOWN_SECONDS="0",
        TERTULIA_METRICS_PORT="9100",
        TERTULIA_METRICS_HOST="::1",
        TERTULIA_MAX_CACHED_CONVERSATIONS="0",
    )
    assert (tuned.task_queue, tuned.model_task_queue) == ("mine", "mine-models")
    assert (tuned.max_concurrent_model_calls, tuned.model_calls_per_second) == (7, 0.5)
    assert (tuned.graceful_shutdown_seconds, tuned.metrics_port) == (0.0, 9100)
    assert (default.metrics_host, tuned.metrics_host) == ("127.0.0.1", "::1")
    assert tuned.max_cached_conversations == 0


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        (
            "TERTULIA_MAX_CONCURRENT_MODEL_CALLS",
            "0",
            "a whole number of at least 1; unset the variable to use the default, 100",
        ),
        (
            "TERTULIA_MAX_CONCURRENT_MODEL_CALLS",
            "many",
            "a whole number of at least 1; unset the variable to use the default, 100",
        ),
        ("TERTULIA_MODEL_CALLS_PER_SECOND", "0", "a number greater than 0; unset the variable to switch this off"),
        ("TERTULIA_MODEL_CALLS_PER_SECOND", "inf", "a number greater than 0; unset the variable to switch this off"),
        (
            "TERTULIA_GRACEFUL_SHUTDOWN_SECONDS",
            "-1",
            "a number of at least 0; unset the variable to use the default, 30.0",
        ),
        (
            "TERTULIA_METRICS_PORT",
            "65536",
            "a whole number of at least 1 and at most 65535; unset the variable to switch this off",
        ),
        ("TERTULIA_METRICS_HOST", "localhost", "an IP address, such as 127.0.0.1 or 0.0.0.0"),
        (
            "TERTULIA_MAX_CACHED_CONVERSATIONS",
            "-1",
            "a whole number of at least 0; unset the variable to use the default, 500",
        ),
        (
            "TERTULIA_LOG_LEVEL",
            "chatty",
            "one of DEBUG, INFO, WARNING, ERROR; unset the variable to use the default, INFO",
        ),
    ],
)
def test_invalid_setting_is_named(tmp_path: Path, variable: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"{variable}: '{text}' is not {expected}") + "$"):
        configure(tmp_path, **{variable: text})


def test_with_variables_replaces_settings(running: Path) -> None:
    configuration = configure(running, TERTULIA_METRICS_PORT="9100")
    changed = configuration.with_variables({"TERTULIA_TASK_QUEUE": "mine", "DATABASE_URL": "postgresql://there/db"})
    assert (changed.task_queue, changed.metrics_port) == ("mine", 9100)
    assert changed.database_url == "postgresql+psycopg://there/db"
    assert changed.temporal_address == RUNNING.temporal_address
    assert configuration.with_variables({}) is configuration


def test_empty_variable_counts_as_absent(running: Path) -> None:
    empty = configure(running, DATABASE_URL="", OPENAI_API_KEY=" ", TERTULIA_METRICS_PORT="")
    assert empty.database_url == RUNNING.database_url
    assert empty.model_endpoint.offline


def test_repr_hides_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERTULIA_DATA", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "hush")
    configuration = Configuration.from_environment()
    assert configuration.data_folder == Path.cwd() / ".tertulia"
    assert "hush" not in repr(configuration)


def test_external_offline_model_is_a_fallback(tmp_path: Path) -> None:
    variables = {"TERTULIA_DATA": str(tmp_path), "TERTULIA_OFFLINE_MODEL_URL": "http://offline-model:8234/v1"}
    alone = Configuration.from_environment(variables).model_endpoint
    assert (alone.base_url, alone.offline) == ("http://offline-model:8234/v1", True)
    beside = Configuration.from_environment(variables | {"OPENAI_API_KEY": "a-real-key"}).model_endpoint
    assert (beside.base_url, beside.offline) == (None, False)
