"""The functions with which a process of the user runs Tertulia's workers."""

import socket
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest
from temporalio.client import Client, Interceptor, OutboundInterceptor
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes
from temporalio.worker import Worker

from tertulia.configuration import Configuration
from tertulia.core.activity_contracts import ActivityName
from tertulia.core.errors import ConfigurationError
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.testing import DirectClient, WorkflowHarness
from tertulia.worker import build_workers, connect, open_worker_resources, worker_options


class CountingInterceptor(Interceptor):
    """Count the times that a client uses it."""

    def __init__(self) -> None:
        self.count = 0

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        self.count += 1
        return next


@pytest.fixture
def task_queue() -> Iterator[str]:
    """A queue of this test's own."""
    yield f"own-{uuid.uuid4().hex[:8]}"


async def foreign_client(stack: Stack, interceptor: Interceptor) -> Client:
    """Return a client that was connected without Tertulia's plugin."""
    return await Client.connect(
        stack.configuration.temporal_address, data_converter=pydantic_data_converter, interceptors=[interceptor]
    )


async def test_workers_run_over_a_foreign_client(stack: Stack, model: OfflineModelControl, task_queue: str) -> None:
    interceptor = CountingInterceptor()
    client = await foreign_client(stack, interceptor)
    url, endpoint = stack.configuration.database_url, stack.configuration.model_endpoint.base_url
    # Neither a database nor a Temporal server is configured: the worker gets both by argument.
    configuration = Configuration.from_environment({"TERTULIA_DATA": "/nowhere", "OPENAI_BASE_URL": str(endpoint)})
    async with (
        open_worker_resources(client, configuration, database_url=url, task_queue=task_queue) as resources,
        DirectClient.open(stack.configuration.with_variables({"TERTULIA_TASK_QUEUE": task_queue})) as tertulia,
    ):
        conversations, models = build_workers(resources)
        async with conversations, models:
            harness = WorkflowHarness(tertulia, model)
            conversation = await tertulia.conversations.create(await harness.group("Ana", "Ben"), "Hello.")
            assert (await conversation.wait_for_round(timeout_seconds=30)).turn == 2
    assert interceptor.count == 1
    assert list(client.config()["interceptors"]) == [interceptor]


async def test_options_name_everything_of_both_workers(stack: Stack, task_queue: str) -> None:
    client = await connect(stack.configuration)
    async with open_worker_resources(client, stack.configuration, task_queue=task_queue) as resources:
        options = worker_options(resources)
        assert [one["task_queue"] for one in options] == [task_queue, f"{task_queue}-models"]
        registered = [activity for one in options for activity in one["activities"]]
        names = {getattr(activity, "__temporal_activity_definition").name for activity in registered}
        assert names == set(ActivityName) and len(registered) == len(ActivityName)
        assert "workflows" not in options.models
        options.models["max_concurrent_activities"] = 3
        assert Worker(**options.models).config()["max_concurrent_activities"] == 3


@pytest.mark.parametrize(
    "converter",
    [
        DataConverter.default,
        replace(pydantic_data_converter, failure_converter_class=DefaultFailureConverterWithEncodedAttributes),
    ],
)
async def test_another_data_converter_is_refused(stack: Stack, converter: DataConverter) -> None:
    client = await Client.connect(stack.configuration.temporal_address, data_converter=converter)
    with pytest.raises(ConfigurationError, match=r"data converter.*TertuliaClientPlugin"):
        async with open_worker_resources(client, stack.configuration):
            raise AssertionError("opened")


async def test_taken_metrics_port_is_named(stack: Stack) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        configuration = stack.configuration.with_variables({"TERTULIA_METRICS_PORT": str(port)})
        with pytest.raises(ConfigurationError, match=f"TERTULIA_METRICS_PORT: .*127.0.0.1 port {port}"):
            await connect(configuration)


async def test_metrics_are_served_on_this_machine_only(stack: Stack) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    await connect(stack.configuration.with_variables({"TERTULIA_METRICS_PORT": str(port)}))
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    # Another address of the same machine: it would answer if the port were open to networks.
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", port), timeout=5)
