"""Schemas: Letta's client may send its fields, and the fields that it reads are returned."""

import inspect
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import letta_client
import pytest
from letta_client.agents.blocks.client import BlocksClient as AgentBlocksClient
from letta_client.agents.client import AgentsClient
from letta_client.blocks.client import BlocksClient
from letta_client.groups.client import GroupsClient
from letta_client.groups.messages.client import MessagesClient
from pydantic import BaseModel, ValidationError

from tertulia.api.schemas.agents import AgentQuery, AgentState, CreateAgent, LlmConfigRequest, UpdateAgent, agent_shape
from tertulia.api.schemas.blocks import BlockQuery, BlockShape, CreateBlock, UpdateBlock, block_shape
from tertulia.api.schemas.groups import CreateGroup, GroupQuery, GroupShape, UpdateGroup, group_shape
from tertulia.api.schemas.messages import (
    GroupAnswer,
    MessageQuery,
    MessageRequest,
    SendMessages,
    StopReason,
    TextPart,
    UsageStatistics,
    message_shape,
    parse_message_id,
    stop_reason,
    usage_statistics,
)
from tertulia.api.schemas.requests import RequestModel
from tertulia.core.agents import ModelChoice, ModelSettings, StoredAgent
from tertulia.core.blocks import Block
from tertulia.core.errors import NotFound
from tertulia.core.group import DynamicConfig, Group, StoredGroup
from tertulia.core.ids import AgentId, BlockId, ConversationId, GroupId
from tertulia.core.records import Message
from tertulia.core.usage import Usage

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOT_SENT = {"self", "request_options", "agent_id", "block_id", "group_id", "block_label"}
"""Parameters of the client's methods that are in the path or not sent."""
LEFT_OUT = {"connected_to_agents_count_gt", "connected_to_agents_count_lt", "connected_to_agents_count_eq"}


BODIES = (
    CreateAgent,
    UpdateAgent,
    AgentQuery,
    CreateBlock,
    UpdateBlock,
    BlockQuery,
    CreateGroup,
    UpdateGroup,
    GroupQuery,
    SendMessages,
    MessageQuery,
)


def block(**fields: Any) -> Block:
    return Block(id=BlockId("b"), label="facts", value="x", created_at=NOW, updated_at=NOW, **fields)


def stored_agent(**fields: Any) -> StoredAgent:
    values: dict[str, Any] = {
        "id": "a",
        "name": "Ana",
        "description": "d",
        "instructions": "i",
        "model": ModelSettings(),
        "tags": ("t",),
        "metadata": {},
        "revision": 3,
        "created_at": NOW,
        "updated_at": NOW,
        "blocks": (block(),),
    }
    return StoredAgent.model_validate(values | fields)


@pytest.mark.parametrize(
    ("method", "body"),
    [
        (AgentsClient.create, CreateAgent),
        (AgentsClient.modify, UpdateAgent),
        (AgentsClient.list, AgentQuery),
        (BlocksClient.create, CreateBlock),
        (BlocksClient.modify, UpdateBlock),
        (BlocksClient.list, BlockQuery),
        (AgentBlocksClient.modify, UpdateBlock),
        (GroupsClient.create, CreateGroup),
        (GroupsClient.modify, UpdateGroup),
        (GroupsClient.list, GroupQuery),
        (MessagesClient.create, SendMessages),
        (MessagesClient.list, MessageQuery),
    ],
)
def test_letta_parameters_are_known(method: Any, body: type[RequestModel]) -> None:
    sent = set(inspect.signature(method).parameters) - NOT_SENT - LEFT_OUT
    assert sent <= set(body.model_fields) | body.ignored_fields
    assert not body.ignored_fields & set(body.model_fields), "a field is read or ignored, not both"


@pytest.mark.parametrize(
    ("theirs", "body"),
    [
        (letta_client.LlmConfig, LlmConfigRequest),
        (letta_client.CreateBlock, CreateBlock),
        (letta_client.MessageCreate, MessageRequest),
    ],
)
def test_letta_nested_fields_are_known(theirs: type[BaseModel], body: type[RequestModel]) -> None:
    assert set(theirs.model_fields) <= set(body.model_fields) | body.ignored_fields


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (letta_client.AgentState, AgentState),
        (letta_client.Block, BlockShape),
        (letta_client.Group, GroupShape),
        (letta_client.LettaResponse, GroupAnswer),
        (letta_client.LettaStopReason, StopReason),
        (letta_client.LettaUsageStatistics, UsageStatistics),
    ],
)
def test_letta_required_fields_are_returned(theirs: type[BaseModel], ours: type[BaseModel]) -> None:
    needed = {name for name, field in theirs.model_fields.items() if field.is_required()}
    assert needed <= set(ours.model_fields)


def test_ignored_fields_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/api.md").read_text(encoding="utf-8")
    bodies: list[type[RequestModel]] = [*BODIES, LlmConfigRequest, MessageRequest, TextPart]
    assert [name for body in bodies for name in sorted(body.ignored_fields) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("body", [CreateAgent, UpdateAgent, CreateBlock, CreateGroup, UpdateGroup, SendMessages])
def test_unknown_field_is_refused_by_name(body: type[RequestModel]) -> None:
    with pytest.raises(ValidationError, match="colour"):
        body.model_validate({"colour": "red", "label": "x", "messages": [{"content": "x"}]})


def test_create_agent_reads_letta_fields() -> None:
    body = CreateAgent.model_validate(
        {
            "system": "Be kind.",
            "memory_blocks": [{"label": "human", "value": " x ", "read_only": True, "limit": None}],
            "model": "openai/m-1",
            "max_tokens": 9,
            "tags": ["b", "a", "b"],
            "tools": ["search"],
            "embedding": "openai/e",
            "include_base_tools": True,
        }
    )
    definition = body.definition
    assert (definition.instructions, definition.tags, definition.blocks[0].value) == ("Be kind.", ("a", "b"), " x ")
    assert definition.model == ModelSettings(model="m-1", max_tokens=9)


def test_model_settings_precedence() -> None:
    llm_config = {
        "model": "m-2",
        "model_endpoint_type": "openai",
        "context_window": 8_000,
        "temperature": 0.5,
        "reasoning_effort": "low",
    }
    both = CreateAgent.model_validate({"model": "openai/m-1", "llm_config": llm_config})
    assert both.definition.model == ModelSettings(model="m-2", temperature=0.5, extra={"reasoning_effort": "low"})
    settings = {"model": "openai/m-3", "fallbacks": [{"model": "m-4"}]}
    all_three = CreateAgent.model_validate({"model": "m-1", "llm_config": llm_config, "model_settings": settings})
    assert all_three.definition.model == ModelSettings(model="openai/m-3", fallbacks=(ModelChoice(model="m-4"),))


def test_modify_agent_has_named_fields_only() -> None:
    assert UpdateAgent.model_validate({"timezone": "UTC"}).patch.model_fields_set == set()
    patch = UpdateAgent.model_validate({"system": None, "model": "openai/m", "block_ids": []}).patch
    assert patch.model_fields_set == {"instructions", "model_name", "block_ids"}
    assert (patch.instructions, patch.model_name, patch.block_ids) == (None, "m", ())


def test_agent_state_parses_as_letta() -> None:
    shape = agent_shape(stored_agent(), "m-default")
    theirs = letta_client.AgentState.model_validate(shape.model_dump(mode="json"))
    assert (theirs.name, theirs.system, theirs.llm_config.model) == ("Ana", "i", "m-default")
    assert (theirs.llm_config.handle, theirs.llm_config.context_window) == ("openai/m-default", 16_000)
    assert (theirs.tools, theirs.sources, theirs.embedding_config.embedding_dim) == ([], [], 0)
    assert theirs.memory.blocks[0].label == "facts"
    again = UpdateAgent.model_validate({"llm_config": theirs.llm_config.model_dump(exclude_unset=True)})
    assert again.patch.model == ModelSettings(model="m-default")


def test_block_and_group_parse_as_letta() -> None:
    shape = block_shape(block(version=4, limit=7))
    their_block = letta_client.Block.model_validate(shape.model_dump(mode="json"))
    assert (their_block.label, their_block.limit, shape.version) == ("facts", 7, 4)
    rules = DynamicConfig(manager_agent_id=AgentId("m"), max_turns=5, termination_token=None)
    group = Group(id=GroupId("g"), name="G", agent_ids=(AgentId("a"),), manager_config=rules, revision=2)
    stored = StoredGroup(group=group, default_conversation_id=None, created_at=NOW, updated_at=NOW)
    theirs = letta_client.Group.model_validate(group_shape(stored).model_dump(mode="json"))
    assert (theirs.manager_type, theirs.manager_agent_id, theirs.max_turns) == ("dynamic", "m", 5)
    assert (theirs.agent_ids, theirs.termination_token, theirs.shared_block_ids) == (["a"], None, [])


@pytest.mark.parametrize(
    ("reason", "one_turn_each", "letta"),
    [
        ("max_turns", False, "max_steps"),
        ("max_turns", True, "end_turn"),
        ("termination_token", False, "end_turn"),
        ("manager_finish", False, "end_turn"),
        ("all_passed", True, "end_turn"),
        ("token_budget+max_turns", False, "max_steps"),
        ("operator_stop", False, "cancelled"),
        ("nobody_to_speak", False, "error"),
        (None, False, "error"),
    ],
)
def test_stop_reason_in_letta_terms(reason: str | None, one_turn_each: bool, letta: str) -> None:
    converted = stop_reason(reason, one_turn_each=one_turn_each)
    assert (converted.stop_reason, converted.reason) == (letta, reason or "")


def test_usage_counts_turns_as_steps() -> None:
    usage = usage_statistics(Usage(prompt_tokens=3, completion_tokens=4, model_calls=9), 2)
    assert (usage.total_tokens, usage.step_count) == (7, 2)


def test_message_request_accepts_text_only() -> None:
    parts = {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "Zoe", "otid": "1"}
    post = MessageRequest.model_validate({"role": "user", **parts}).post
    assert (post.text, post.sender) == ("a\nb", "Zoe")
    assert MessageRequest.model_validate({"role": "system", "content": "x"}).post.sender == "System"
    for wrong in ({"role": "assistant", "content": "x"}, {"content": " "}, {"content": [{"type": "image"}]}):
        with pytest.raises(ValidationError):
            MessageRequest.model_validate(wrong)


def test_message_id_maps_to_seq() -> None:
    message = Message(seq=7, turn=3, role="assistant", sender_id="a", sender="Ana", text="x", created_at=NOW)
    shape = message_shape("talk-1", message)
    assert (shape.message_type, shape.name, shape.sender_id, shape.seq_id) == ("assistant_message", "Ana", "a", 7)
    assert parse_message_id(shape.id, ConversationId("talk-1"), "after") == 7
    for other in ("talk-2", None):
        with pytest.raises(NotFound, match=f"after: no such message: '{shape.id}'"):
            parse_message_id(shape.id, ConversationId(other) if other else None, "after")
    with pytest.raises(NotFound):
        parse_message_id("message-talk-1-x", ConversationId("talk-1"), "after")
