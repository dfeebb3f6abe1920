"""Compatibility: Letta's own client, package `letta-client`, against the running API."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from letta_client import AsyncLetta, CreateBlock, DynamicManager, DynamicManagerUpdate, MessageCreate, RoundRobinManager
from letta_client.core.api_error import ApiError
from letta_client.types import AgentState, UserMessage

from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.testing import open_workflow_harness
from tests.harness.api_server import make_key, new_organisation, start_api_process


@pytest.fixture(scope="module")
async def letta(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AsyncLetta]:
    """Letta's client with a key of an organisation of its own, and a running worker."""
    log: Path = tmp_path_factory.mktemp("letta") / "api.log"
    async with open_workflow_harness(stack) as harness:
        database, queue = harness.client.scope.database, harness.client.scope.connection.task_queue
        async with start_api_process(stack, log, TERTULIA_TASK_QUEUE=queue) as api:
            made = await make_key(database, "operate", organisation=await new_organisation(database))
            async with httpx.AsyncClient(timeout=60) as http:
                yield AsyncLetta(base_url=api.url, token=made.secret, httpx_client=http)  # type: ignore[no-untyped-call]


async def agents(letta: AsyncLetta, *names: str) -> list[AgentState]:
    return [
        await letta.agents.create(
            name=name,
            system=f"You are {name}.",
            description=f"is {name}",
            memory_blocks=[CreateBlock(label="persona", value=f"I am {name}")],
            model="openai/offline-model",
            embedding="openai/text-embedding-3-small",
            include_base_tools=False,
            tags=["table", name.lower()],
        )
        for name in names
    ]


async def test_letta_agents_create_to_delete(letta: AsyncLetta) -> None:
    ana, ben = await agents(letta, "Ana", "Ben")
    assert (ana.name, ana.system, ana.tags) == ("Ana", "You are Ana.", ["ana", "table"])
    assert (ana.llm_config.model, ana.tools, ana.sources) == ("offline-model", [], [])
    assert [(block.label, block.value) for block in ana.memory.blocks] == [("persona", "I am Ana")]
    assert (await letta.agents.retrieve(ana.id)).name == "Ana"
    assert [one.name for one in await letta.agents.list(tags=["ana"])] == ["Ana"]
    assert [one.name for one in await letta.agents.list(limit=1, after=ana.id)] == ["Ben"]
    assert await letta.agents.count() == 2
    changed = await letta.agents.modify(ben.id, description="other", model="openai/else", tags=[], metadata={"a": 1})
    assert (changed.description, changed.llm_config.model, changed.tags) == ("other", "else", [])
    assert changed.system == "You are Ben."
    same = await letta.agents.modify(ben.id, llm_config=changed.llm_config)
    assert same.llm_config.model == "else"
    for agent in (ana, ben):
        await letta.agents.delete(agent.id)
    with pytest.raises(ApiError) as refused:
        await letta.agents.retrieve(ana.id)
    assert refused.value.status_code == 404


async def test_letta_blocks_attach_and_detach(letta: AsyncLetta) -> None:
    [cleo] = await agents(letta, "Cleo")
    block = await letta.blocks.create(label="facts", value="x", description="what is known", limit=100)
    assert block.id is not None
    attached = await letta.agents.blocks.attach(cleo.id, block.id)
    assert [one.label for one in attached.memory.blocks] == ["persona", "facts"]
    await letta.agents.blocks.modify(cleo.id, "facts", value="y")
    assert (await letta.blocks.retrieve(block.id)).value == "y"
    assert [one.id for one in await letta.blocks.agents.list(block.id)] == [cleo.id]
    assert [one.id for one in await letta.blocks.list(label="facts")] == [block.id]
    with pytest.raises(ApiError) as refused:
        await letta.blocks.modify(block.id, value="z" * 101)
    assert refused.value.status_code == 400
    await letta.agents.blocks.detach(cleo.id, block.id)
    assert [one.label for one in await letta.agents.blocks.list(cleo.id)] == ["persona"]
    await letta.blocks.delete(block.id)
    await letta.agents.delete(cleo.id)


async def test_letta_groups_create_to_delete(letta: AsyncLetta) -> None:
    dora, emil, host = await agents(letta, "Dora", "Emil", "Host")
    block = await letta.blocks.create(label="shared", value="all know this")
    assert block.id is not None
    turns = await letta.groups.create(
        agent_ids=[dora.id, emil.id],
        description="takes turns",
        manager_config=RoundRobinManager(max_turns=2),
        shared_block_ids=[block.id],
    )
    led = await letta.groups.create(
        agent_ids=[dora.id], description="is led", manager_config=DynamicManager(manager_agent_id=host.id, max_turns=3)
    )
    plain = await letta.groups.create(agent_ids=[emil.id], description="as it is by default")
    assert (turns.manager_type, turns.max_turns, turns.shared_block_ids) == ("round_robin", 2, [block.id])
    assert (led.manager_type, led.manager_agent_id, led.termination_token) == ("dynamic", host.id, "DONE!")
    assert plain.manager_type == "round_robin"
    assert [one.id for one in await letta.groups.list(manager_type="dynamic")] == [led.id]
    assert await letta.groups.count() == 3
    assert {one.id for one in await letta.agents.groups.list(dora.id)} == {turns.id, led.id}
    changed = await letta.groups.modify(turns.id, agent_ids=[emil.id], description="alone", shared_block_ids=[])
    assert (changed.agent_ids, changed.description, changed.shared_block_ids) == ([emil.id], "alone", [])
    later = await letta.groups.modify(led.id, manager_config=DynamicManagerUpdate(max_turns=7))
    assert (later.max_turns, later.manager_agent_id) == (7, host.id)
    with pytest.raises(ApiError) as refused:
        await letta.groups.modify(turns.id, manager_config=DynamicManagerUpdate(manager_agent_id=host.id))
    assert "Cannot change group pattern after creation" in str(refused.value.body)
    with pytest.raises(ApiError) as needed:
        await letta.agents.delete(emil.id)
    assert needed.value.status_code == 409
    for group in (turns, led, plain):
        await letta.groups.delete(group.id)
    assert await letta.groups.list() == []
    for agent in (dora, emil, host):
        await letta.agents.delete(agent.id)


async def test_letta_group_message_and_read_back(letta: AsyncLetta) -> None:
    fay, gus = await agents(letta, "Fay", "Gus")
    group = await letta.groups.create(agent_ids=[fay.id, gus.id], description="two at a table")
    answer = await letta.groups.messages.create(
        group.id, messages=[MessageCreate(role="user", content="What is in the box?")]
    )
    assert [(one.message_type, one.name) for one in answer.messages] == [
        ("assistant_message", "Fay"),
        ("assistant_message", "Gus"),
    ]
    assert [one.sender_id for one in answer.messages] == [fay.id, gus.id]
    assert answer.stop_reason.stop_reason == "end_turn"
    assert answer.usage.step_count == 2
    assert answer.usage.total_tokens
    received = await letta.groups.messages.list(group.id)
    assert [one.message_type for one in received] == ["user_message", *["assistant_message"] * 2]
    assert isinstance(received[0], UserMessage)
    assert received[0].content == "What is in the box?"
    assert [one.id for one in received[1:]] == [one.id for one in answer.messages]
    assert [one.id for one in await letta.groups.messages.list(group.id, after=received[0].id, limit=1)] == [
        received[1].id
    ]
    assert [one.id for one in await letta.groups.messages.list(group.id, before=received[2].id, limit=1)] == [
        received[1].id
    ]
    await letta.groups.messages.reset(group.id)
    assert await letta.groups.messages.list(group.id) == []


async def test_letta_group_message_stream(letta: AsyncLetta, model: OfflineModelControl) -> None:
    hal, ida = await agents(letta, "Hal", "Ida")
    group = await letta.groups.create(agent_ids=[hal.id, ida.id], description="two at a table")
    question = MessageCreate(role="user", content="What is in the box?")
    await model.set_behaviour(delay_ms=1_000)
    received, after = [], []
    async for part in letta.groups.messages.create_stream(group.id, messages=[question]):
        received.append(part)
        after.append(time.monotonic())
    assert [part.message_type for part in received] == [*["assistant_message"] * 2, "stop_reason", "usage_statistics"]
    assert after[1] - after[0] > 0.5, "the first answer was received before the second one was complete"
    read = await letta.groups.messages.list(group.id)
    assert [getattr(part, "id", None) for part in received[:2]] == [message.id for message in read[1:]]
