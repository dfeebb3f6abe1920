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

from tertulia.activities.heartbeat_interceptor import Claims, SignsOfLife
from tertulia.activities.worker_liveness import Peers
from tertulia.configuration import Configuration, ConfigurationError
from tertulia.store.database import Database
from tertulia.temporal.search_attributes import register_search_attributes
from tertulia.workflows.plugin import TertuliaPlugin

if TYPE_CHECKING:
    from tertulia.activities.provider import ModelProvider

_STICKY_TIMEOUT = timedelta(seconds=1)
"""How long a workflow task waits for a worker that may be dead before any other may take it."""
_HEARTBEAT_THROTTLE = timedelta(seconds=0.5)
_CONCURRENT_DATABASE_ACTIVITIES = 100
_CONCURRENT_WORKFLOW_TASKS = 4
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
        **connect_config, plugins=[TertuliaPlugin(configuration.encryption_keys)], runtime=runtime
    )


def workers(
    client: Client,
    configuration: Configuration,
    database: Database,
    provider: "ModelProvider",
    claims: Claims,
) -> tuple[Worker, Worker]:
    """One worker for workflows and database activities, one for model calls."""
    from tertulia.activities.choose_speaker import Choosing
    from tertulia.activities.conversation_records import Keeping
    from tertulia.activities.errors import BriefErrors
    from tertulia.activities.group_changes import Changing
    from tertulia.activities.take_turn import Speaking

    keeping, changing = Keeping(database), Changing(database, client)
    shutdown = timedelta(seconds=configuration.graceful_shutdown_seconds)
    interceptors = [BriefErrors(), SignsOfLife(claims)]
    conversations = Worker(
        client,
        task_queue=configuration.task_queue,
        activities=[
            keeping.load_conversation,
            keeping.find_newcomer,
            keeping.apply_membership,
            keeping.record_posts,
            keeping.record_silent_turn,
            keeping.close_conversation,
            keeping.load_group,
            keeping.close_round,
            keeping.announce_phase,
            changing.write_change,
            changing.tell_conversations,
        ],
        interceptors=interceptors,
        max_cached_workflows=configuration.max_cached_conversations,
        max_concurrent_activities=_CONCURRENT_DATABASE_ACTIVITIES,
        max_concurrent_workflow_tasks=_CONCURRENT_WORKFLOW_TASKS,
        max_heartbeat_throttle_interval=_HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=_HEARTBEAT_THROTTLE,
        sticky_queue_schedule_to_start_timeout=_STICKY_TIMEOUT,
        graceful_shutdown_timeout=shutdown,
    )
    speaking, choosing = Speaking(database, provider), Choosing(database, provider)
    models = Worker(
        client,
        task_queue=configuration.model_task_queue,
        activities=[speaking.take_turn, choosing.choose_speaker],
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
        peers = await resources.enter_async_context(Peers(database, client))
        _, provided = await asyncio.gather(
            register_search_attributes(client), asyncio.to_thread(import_module, "tertulia.activities.provider")
        )
        provider = provided.ModelProvider(endpoint.base_url, endpoint.api_key, configuration.default_model)
        resources.push_async_callback(provider.close)
        for worker in workers(client, configuration, database, provider, peers):
            await resources.enter_async_context(worker)
        source = "the offline model" if endpoint.offline else endpoint.base_url or "the OpenAI API"
        logger.info("working on %r; models answered by %s", configuration.task_queue, source)
        await stop.wait()
        logger.info("stopping; running model calls may finish")


async def _serve() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
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


def _leave(code: int) -> NoReturn:
    """End the process at once: Temporal's threads may call into a Python that shuts down, and so abort it
    (temporalio/sdk-python issue 300).
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main())
