"""The worker process, and functions that run Tertulia's workers in a process of yours.

Invariant: the liveness monitor starts before the openai client is imported, which takes half a second. What a killed
worker was executing is handed back while its successor still starts.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import uvloop
from temporalio.client import Client
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.worker import Worker, WorkerConfig

from tertulia.activities.heartbeat_interceptor import ActivityLeases, HeartbeatInterceptor
from tertulia.activities.worker_liveness import WorkerLivenessMonitor
from tertulia.configuration import Configuration
from tertulia.core.errors import ConfigurationError
from tertulia.store.database import Database
from tertulia.temporal.plugin import TertuliaClientPlugin, check_data_converter
from tertulia.temporal.search_attributes import register_search_attributes
from tertulia.workflows.plugin import WORKFLOWS, build_workflow_runner

if TYPE_CHECKING:
    from tertulia.activities.provider import ModelProvider

__all__ = [
    "WorkerOptions",
    "WorkerResources",
    "build_workers",
    "connect",
    "main",
    "open_worker_resources",
    "run_workers",
    "worker_options",
]

_STICKY_TIMEOUT = timedelta(seconds=1)
"""Time after which a workflow task is offered to every worker: the one that has the workflow cached may be dead."""
_HEARTBEAT_THROTTLE = timedelta(seconds=0.5)
_MAX_CONCURRENT_DATABASE_ACTIVITIES = 100
_MAX_CONCURRENT_WORKFLOW_TASKS = 4
"""Workflow tasks share one interpreter: with more at once each one is late, and after a restart is replayed again."""

logger = logging.getLogger("tertulia.worker")


@dataclass(frozen=True)
class WorkerResources:
    """The connections that the activities use. `open_worker_resources` opens and closes them."""

    client: Client
    """The Temporal client of the workers. Its interceptors stay."""
    configuration: Configuration
    """Limits, task queues and encryption keys."""
    database: Database
    """The database of conversations."""
    provider: "ModelProvider"
    """The model endpoint."""
    leases: ActivityLeases
    """Records which activities this process executes, so that another worker can take them over when it dies."""


class WorkerOptions(NamedTuple):
    """Keyword arguments of two `temporalio.worker.Worker`s. Both are needed; they may run in different processes."""

    conversations: WorkerConfig
    """Workflows and database activities, on the queue `Configuration.task_queue`."""
    models: WorkerConfig
    """Model calls, on the queue `Configuration.model_task_queue`. It has no workflows."""


async def connect(configuration: Configuration) -> Client:
    """Connect to the configured Temporal server, with the data converter and, if configured, Prometheus metrics.

    Raises:
        ConfigurationError: no server is configured and no embedded stack runs, or the metrics port is taken.
        RuntimeError: the server does not answer.
    """
    connect_config = configuration.temporal_connect_config()
    plugin = TertuliaClientPlugin(configuration.encryption_keys)
    return await Client.connect(**connect_config, plugins=[plugin], runtime=_metrics_runtime(configuration))


def _metrics_runtime(configuration: Configuration) -> Runtime | None:
    if configuration.metrics_port is None:
        return None
    host, port = configuration.metrics_host, configuration.metrics_port
    metrics = PrometheusConfig(bind_address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    try:
        return Runtime(telemetry=TelemetryConfig(metrics=metrics))
    except ValueError as error:
        raise ConfigurationError(
            f"TERTULIA_METRICS_PORT: cannot serve metrics on {host} port {port} ({error})"
        ) from error


@asynccontextmanager
async def open_worker_resources(
    client: Client,
    configuration: Configuration | None = None,
    *,
    database_url: str | None = None,
    task_queue: str | None = None,
) -> AsyncIterator[WorkerResources]:
    """Open the database, the model endpoint and the liveness monitor; close them when the block ends.

    Args:
        client: a Temporal client connected with `TertuliaClientPlugin(configuration.encryption_keys)`. Without
            encryption keys, a client with `pydantic_data_converter` will do.
        configuration: limits, model endpoint and encryption keys; None = `Configuration.from_environment()`.
        database_url: the database, migrated with `tertulia migrate`; None = the configuration's.
        task_queue: the queue of the workflows; model calls use `{task_queue}-models`. None = the configuration's.

    Raises:
        ConfigurationError: the client has another data converter, or a setting is missing or malformed.
    """
    configuration = configuration or Configuration.from_environment()
    overrides = {"DATABASE_URL": database_url, "TERTULIA_TASK_QUEUE": task_queue}
    configuration = configuration.with_variables({name: text for name, text in overrides.items() if text is not None})
    check_data_converter(client, configuration.encryption_keys)
    endpoint = configuration.model_endpoint
    async with AsyncExitStack() as exits:
        database = await exits.enter_async_context(Database(configuration.database_url))
        monitor = await exits.enter_async_context(WorkerLivenessMonitor(database, client))
        _, provider_module = await asyncio.gather(
            register_search_attributes(client), asyncio.to_thread(import_module, "tertulia.activities.provider")
        )
        provider = provider_module.ModelProvider(endpoint.base_url, endpoint.api_key, configuration.default_model)
        exits.push_async_callback(provider.close)
        yield WorkerResources(client, configuration, database, provider, monitor)


def worker_options(resources: WorkerResources) -> WorkerOptions:
    """Return the options of both workers: workflows, activities, interceptors, task queues and limits.

    For a process that builds its workers itself: `Worker(**worker_options(resources).models)`. Add options of your own,
    but keep the interceptors and the workflow runner: recovery and replay depend on them.
    """
    # Imported here: these import the openai client, which `open_worker_resources` imports in a thread.
    from tertulia.activities.choose_speaker import SpeakerSelectionActivities
    from tertulia.activities.conversation_records import ConversationRecordActivities
    from tertulia.activities.errors import ErrorConversionInterceptor
    from tertulia.activities.group_changes import GroupChangeActivities
    from tertulia.activities.take_turn import TurnActivities

    client, configuration, database = resources.client, resources.configuration, resources.database
    records, group_changes = ConversationRecordActivities(database), GroupChangeActivities(database, client)
    turns = TurnActivities(database, resources.provider)
    selection = SpeakerSelectionActivities(database, resources.provider)
    shared: WorkerConfig = {
        "client": client,
        "interceptors": [ErrorConversionInterceptor(), HeartbeatInterceptor(resources.leases)],
        "max_heartbeat_throttle_interval": _HEARTBEAT_THROTTLE,
        "default_heartbeat_throttle_interval": _HEARTBEAT_THROTTLE,
        "graceful_shutdown_timeout": timedelta(seconds=configuration.graceful_shutdown_seconds),
    }
    conversations: WorkerConfig = {
        **shared,
        "task_queue": configuration.task_queue,
        "workflows": WORKFLOWS,
        "workflow_runner": build_workflow_runner(),
        "activities": [*records.activities(), *group_changes.activities()],
        "max_cached_workflows": configuration.max_cached_conversations,
        "max_concurrent_activities": _MAX_CONCURRENT_DATABASE_ACTIVITIES,
        "max_concurrent_workflow_tasks": _MAX_CONCURRENT_WORKFLOW_TASKS,
        "sticky_queue_schedule_to_start_timeout": _STICKY_TIMEOUT,
    }
    models: WorkerConfig = {
        **shared,
        "task_queue": configuration.model_task_queue,
        "activities": [turns.take_turn, selection.choose_speaker],
        "max_concurrent_activities": configuration.max_concurrent_model_calls,
        "max_task_queue_activities_per_second": configuration.model_calls_per_second,
    }
    return WorkerOptions(conversations, models)


def build_workers(resources: WorkerResources) -> tuple[Worker, Worker]:
    """Return the worker of conversations and the worker of model calls. Each is an async context manager."""
    options = worker_options(resources)
    return Worker(**options.conversations), Worker(**options.models)


@asynccontextmanager
async def run_workers(
    client: Client,
    configuration: Configuration | None = None,
    *,
    database_url: str | None = None,
    task_queue: str | None = None,
) -> AsyncIterator[WorkerResources]:
    """Run both workers while the block runs; at its end running model calls may finish, within the configured limit.

    Args and errors are those of `open_worker_resources`.
    """
    async with (
        open_worker_resources(client, configuration, database_url=database_url, task_queue=task_queue) as resources,
        AsyncExitStack() as running,
    ):
        for worker in build_workers(resources):
            await running.enter_async_context(worker)
        endpoint = resources.configuration.model_endpoint
        source = "the offline model" if endpoint.offline else endpoint.base_url or "the OpenAI API"
        logger.info("polling task queue %r; model calls go to %s", resources.configuration.task_queue, source)
        yield resources


async def _run_until_stopped() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    configuration = Configuration.from_environment()
    logging.getLogger("tertulia").setLevel(configuration.log_level)
    async with run_workers(await connect(configuration), configuration):
        await stop.wait()
        logger.info("stopping; running model calls may finish")


def main() -> int:
    """Run both workers until SIGTERM or SIGINT; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        uvloop.run(_run_until_stopped())
    except (ConfigurationError, RuntimeError) as error:
        print(f"tertulia worker: {error}", file=sys.stderr)
        return 1
    return 0


def _exit_immediately(code: int) -> NoReturn:
    # Temporal's threads may call into an interpreter that shuts down, and so abort the process
    # (temporalio/sdk-python issue 300).
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="worker.py",
        description="Run Tertulia's workers until SIGTERM or SIGINT. Environment variables configure it: the servers"
        " (TEMPORAL_ADDRESS, DATABASE_URL), the models (OPENAI_BASE_URL, OPENAI_API_KEY) and limits (TERTULIA_…).",
    ).parse_args()
    _exit_immediately(main())
