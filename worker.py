"""The process that runs workflows and activities: composition, and nothing else.

Law: the watch over dead workers begins before the openai client is imported, which takes half a second: what a killed
worker held is handed back while its successor still starts.
"""

import asyncio
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import uvloop
from temporalio.client import Client
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.worker import Worker

from tertulia.activities.heartbeat_interceptor import ActivityLeases, HeartbeatInterceptor
from tertulia.activities.worker_liveness import WorkerLivenessMonitor
from tertulia.configuration import Configuration
from tertulia.core.errors import ConfigurationError
from tertulia.store.database import Database
from tertulia.temporal.plugin import TertuliaClientPlugin
from tertulia.temporal.search_attributes import register_search_attributes
from tertulia.workflows.plugin import WORKFLOWS, build_workflow_runner

if TYPE_CHECKING:
    from tertulia.activities.provider import ModelProvider

_STICKY_TIMEOUT = timedelta(seconds=1)
"""How long a workflow task waits for a worker that may be dead before any other may take it."""
_HEARTBEAT_THROTTLE = timedelta(seconds=0.5)
_MAX_CONCURRENT_DATABASE_ACTIVITIES = 100
_MAX_CONCURRENT_WORKFLOW_TASKS = 4
"""They share one interpreter: more at once only makes each of them late, and so replayed again, after a restart."""

logger = logging.getLogger("tertulia.worker")


async def connect(configuration: Configuration) -> Client:
    """A client of the configured Temporal server, with this project's plugin."""
    runtime = None
    if configuration.metrics_port is not None:
        metrics = PrometheusConfig(bind_address=f"0.0.0.0:{configuration.metrics_port}")
        runtime = Runtime(telemetry=TelemetryConfig(metrics=metrics))
    connect_config = configuration.temporal_connect_config()
    return await Client.connect(
        **connect_config, plugins=[TertuliaClientPlugin(configuration.encryption_keys)], runtime=runtime
    )


def build_workers(
    client: Client,
    configuration: Configuration,
    database: Database,
    provider: "ModelProvider",
    leases: ActivityLeases,
) -> tuple[Worker, Worker]:
    """One worker for workflows and database activities, one for model calls."""
    from tertulia.activities.choose_speaker import SpeakerSelectionActivities
    from tertulia.activities.conversation_records import ConversationRecordActivities
    from tertulia.activities.errors import ErrorConversionInterceptor
    from tertulia.activities.group_changes import GroupChangeActivities
    from tertulia.activities.take_turn import TurnActivities

    records, group_changes = ConversationRecordActivities(database), GroupChangeActivities(database, client)
    shutdown = timedelta(seconds=configuration.graceful_shutdown_seconds)
    interceptors = [ErrorConversionInterceptor(), HeartbeatInterceptor(leases)]
    conversations = Worker(
        client,
        task_queue=configuration.task_queue,
        workflows=WORKFLOWS,
        workflow_runner=build_workflow_runner(),
        activities=[
            records.load_conversation,
            records.find_newcomer,
            records.apply_membership,
            records.record_posts,
            records.record_silent_turn,
            records.close_conversation,
            records.load_group,
            records.close_round,
            records.announce_phase,
            group_changes.write_change,
            group_changes.notify_conversations,
        ],
        interceptors=interceptors,
        max_cached_workflows=configuration.max_cached_conversations,
        max_concurrent_activities=_MAX_CONCURRENT_DATABASE_ACTIVITIES,
        max_concurrent_workflow_tasks=_MAX_CONCURRENT_WORKFLOW_TASKS,
        max_heartbeat_throttle_interval=_HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=_HEARTBEAT_THROTTLE,
        sticky_queue_schedule_to_start_timeout=_STICKY_TIMEOUT,
        graceful_shutdown_timeout=shutdown,
    )
    turns, selection = TurnActivities(database, provider), SpeakerSelectionActivities(database, provider)
    models = Worker(
        client,
        task_queue=configuration.model_task_queue,
        activities=[turns.take_turn, selection.choose_speaker],
        interceptors=interceptors,
        max_concurrent_activities=configuration.max_concurrent_model_calls,
        max_task_queue_activities_per_second=configuration.model_calls_per_second,
        max_heartbeat_throttle_interval=_HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=_HEARTBEAT_THROTTLE,
        graceful_shutdown_timeout=shutdown,
    )
    return conversations, models


async def run(configuration: Configuration, stop: asyncio.Event) -> None:
    """Work until `stop` is set; then let running model calls finish, within the configured limit."""
    client = await connect(configuration)
    endpoint = configuration.model_endpoint
    async with AsyncExitStack() as resources:
        database = await resources.enter_async_context(Database(configuration.database_url))
        monitor = await resources.enter_async_context(WorkerLivenessMonitor(database, client))
        _, provider_module = await asyncio.gather(
            register_search_attributes(client), asyncio.to_thread(import_module, "tertulia.activities.provider")
        )
        provider = provider_module.ModelProvider(endpoint.base_url, endpoint.api_key, configuration.default_model)
        resources.push_async_callback(provider.close)
        for worker in build_workers(client, configuration, database, provider, monitor):
            await resources.enter_async_context(worker)
        source = "the offline model" if endpoint.offline else endpoint.base_url or "the OpenAI API"
        logger.info("working on %r; models answered by %s", configuration.task_queue, source)
        await stop.wait()
        logger.info("stopping; running model calls may finish")


async def _serve() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    configuration = Configuration.from_environment()
    logging.getLogger("tertulia").setLevel(configuration.log_level)
    await run(configuration, stop)


def main() -> int:
    """Run a worker until SIGTERM or SIGINT; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        uvloop.run(_serve())
    except (ConfigurationError, RuntimeError) as error:
        print(f"tertulia worker: {error}", file=sys.stderr)
        return 1
    return 0


def _exit_immediately(code: int) -> NoReturn:
    """End the process at once: Temporal's threads may call into a Python that shuts down, and so abort it
    (temporalio/sdk-python issue 300).
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _exit_immediately(main())
