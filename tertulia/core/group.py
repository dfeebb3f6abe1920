"""Groups: members, manager configuration and settings, with their validation."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    field_validator,
    model_validator,
)

from tertulia.core.agents import Agent
from tertulia.core.base import Definition, Record
from tertulia.core.blocks import MAX_BLOCKS, MemoryBlock
from tertulia.core.budgets import MAX_BUDGETS, Budget
from tertulia.core.errors import InvalidDefinition, NotFound
from tertulia.core.ids import AgentId, BlockId, ConversationId, GroupId
from tertulia.core.names import DisplayName, Identifier
from tertulia.core.termination import DEFAULT_TERMINATION_TOKEN, Condition, count_conditions

MAX_MEMBERS = 100
MAX_CONDITIONS = 50
"""Limit on termination conditions, nested ones included: they are part of the state, and JSON parsers bound nesting."""

CatchUp = Annotated[str, StringConstraints(pattern=r"^(full|none|last:[1-9][0-9]{0,5})$")]
"""Earlier messages that a new member can read: `full` = all, `none`, or `last:N` = the last N."""

Intake = Literal["interject", "queue", "batch"]
"""Handling of a message posted while a round runs. `interject`: it enters the transcript at the next turn boundary.
`queue`: each waiting message gets its own round, in order. `batch`: all waiting messages get one round together."""

FailureStep = Literal["fallback_model", "standby", "skip"]
"""One remedy for a failed turn: the agent's fallback models, a member on standby, or none."""

InFlight = Literal["finish", "discard", "cancel"]
"""Handling of the current turn of a removed speaker: keep its message, drop it, or cancel the model call."""

ClosePolicy = Literal["close", "detach"]
"""Handling of the open conversations of a deleted group: `close` them, or `detach` them to continue without it."""


class Standby(Definition):
    """An agent that takes the turns of a member that fails."""

    agent_id: AgentId
    stands_in_for: AgentId | None = None
    """The only member it stands in for; null = any member."""


class ManagerConfigBase(Definition):
    """Fields of every manager type."""

    max_turns: PositiveInt | None = Field(default=None, le=1_000_000)
    """Turns of one round at most; null = the number of active members."""
    termination_token: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = (
        DEFAULT_TERMINATION_TOKEN
    )
    """Text in a member's message that ends the round; null = none."""


class RoundRobinConfig(ManagerConfigBase):
    """Members speak in roster order."""

    manager_type: Literal["round_robin"] = "round_robin"


class DynamicConfig(ManagerConfigBase):
    """A managing agent chooses each next speaker and may finish the round."""

    manager_type: Literal["dynamic"] = "dynamic"
    manager_agent_id: AgentId | None
    """The managing agent; it cannot be a member. Null = it was deleted: the fallback managers choose, or else the
    fallback rule (the member that has waited longest)."""
    allow_repeated_speaker: bool = False
    """Allow the last speaker to be chosen again at once."""
    max_selection_attempts: PositiveInt = Field(default=3, le=10)
    """Requests to one manager per turn before the next fallback manager, or the fallback rule, chooses."""
    fallback_manager_ids: tuple[AgentId, ...] = Field(default=(), max_length=5)
    """Agents that manage while the manager fails, in this order; they cannot be members."""
    max_pair_turns: PositiveInt | None = Field(default=10, ge=4, le=100_000)
    """After this many turns taken by the same two members, a third one must be chosen; null = no limit."""
    starvation_turns: PositiveInt | None = Field(default=20, le=100_000)
    """A member that has not spoken for this many turns speaks next, without asking the manager; null = never."""

    @property
    def manager_ids(self) -> tuple[AgentId, ...]:
        """The manager and the fallback managers, in the order in which they are asked."""
        first = () if self.manager_agent_id is None else (self.manager_agent_id,)
        return (*first, *self.fallback_manager_ids)


ManagerConfig = Annotated[RoundRobinConfig | DynamicConfig, Field(discriminator="manager_type")]


class GroupSettings(Definition):
    """Settings of a group's conversations. `update_settings` changes any of them in a running conversation."""

    intake: Intake = "interject"
    model: str | None = Field(default=None, min_length=1, max_length=200)
    """The provider's model name used for every agent instead of its own; null = each agent's own."""
    catch_up: CatchUp = "full"
    """Earlier messages that a new member can read, unless the command that adds it sets another value."""
    termination: Condition | None = None
    """A further condition that ends a round, beside the manager's `max_turns` and `termination_token`; at most 50
    conditions, nested ones included."""
    context_messages: PositiveInt = Field(default=40, ge=2, le=2_000)
    """Messages of the transcript in one prompt, at most."""
    context_tokens: PositiveInt = Field(default=16_000, ge=200, le=2_000_000)
    """Tokens of transcript in one prompt, at most, estimated at 4 characters per token."""
    preview_chars: NonNegativeInt = Field(default=500, le=4_000)
    """Characters of each message shown in the Temporal UI; 0 = no text enters the workflow's history."""
    max_message_chars: PositiveInt = Field(default=32_000, le=200_000)
    """Characters of a message at most. A longer post is refused; a member's longer message is cut."""
    max_pending_messages: PositiveInt = Field(default=100, le=1_000)
    """Posted messages that may wait at a time; a further one is refused."""
    turn_timeout_seconds: PositiveFloat = Field(default=180, le=3_600)
    """Time limit of one attempt at a turn, or at choosing a speaker."""
    heartbeat_timeout_seconds: PositiveFloat = Field(default=5, ge=1, le=600)
    """An attempt without a heartbeat for this long is given to another worker."""
    model_attempts: PositiveInt = Field(default=5, le=100)
    """Attempts with one model per turn before the next step of `on_failure`."""
    retry_initial_seconds: PositiveFloat = Field(default=1, le=600)
    """Delay before the second attempt; it doubles with each further attempt, up to 60 s. A provider's `retry-after`
    takes precedence."""
    on_failure: tuple[FailureStep, ...] = Field(default=("fallback_model", "standby", "skip"), max_length=3)
    """Remedies for a turn whose attempts all failed, in order: the agent's fallback models, a member on standby.
    `skip`, or the end of the list, leaves the turn out."""
    isolate_after_failures: PositiveInt = Field(default=2, le=1_000)
    """Failed turns in a row after which a member or manager is isolated."""
    cool_down_turns: PositiveInt | None = Field(default=10, le=1_000_000)
    """Turns after which an isolated member or manager gets a turn on probation; doubles with each further isolation."""
    cool_down_seconds: PositiveFloat | None = Field(default=300, le=31_536_000)
    """Seconds after which the same happens; the earlier counts. If both are null, only an operator ends isolation."""
    probe_initial_seconds: PositiveFloat = Field(default=5, le=86_400)
    """While no member can speak: delay before an isolated member is tried; it doubles with each try."""
    probe_maximum_seconds: PositiveFloat = Field(default=300, le=86_400)
    """Longest delay between two such tries."""
    in_flight: InFlight = "finish"
    """Handling of the current turn of a removed speaker, unless the command sets it: `finish` keeps its message,
    `discard` drops it, `cancel` cancels the model call."""
    budgets: tuple[Budget, ...] = Field(default=(), max_length=MAX_BUDGETS)
    """Limits on what the conversation and its members may use in total."""

    @property
    def failure_steps(self) -> tuple[FailureStep, ...]:
        """The steps of `on_failure` before `skip`."""
        steps = self.on_failure
        return steps[: steps.index("skip")] if "skip" in steps else steps

    @field_validator("termination")
    @classmethod
    def _check_condition_count(cls, condition: Condition | None) -> Condition | None:
        if condition and count_conditions(condition) > MAX_CONDITIONS:
            raise ValueError(f"at most {MAX_CONDITIONS} conditions are allowed, nested ones included")
        return condition


def _check_unique_agents(agent_ids: tuple[AgentId, ...]) -> tuple[AgentId, ...]:
    _reject_duplicates("agent", agent_ids)
    return agent_ids


def _check_unique_blocks(block_ids: tuple[BlockId, ...]) -> tuple[BlockId, ...]:
    _reject_duplicates("block", block_ids)
    return block_ids


def _reject_duplicates(kind: str, ids: Iterable[str]) -> None:
    if twice := [one for one, count in Counter(ids).items() if count > 1]:
        raise ValueError(f"Duplicate {kind} ids: {', '.join(map(repr, twice))}")


class Group(Definition):
    """An ordered list of agents, a manager, shared memory and settings."""

    id: GroupId
    name: DisplayName
    description: str = Field(default="", max_length=10_000)
    """Purpose of the group; part of every member's prompt."""
    agent_ids: Annotated[tuple[AgentId, ...], AfterValidator(_check_unique_agents)] = Field(
        default=(), max_length=MAX_MEMBERS
    )
    standby: tuple[Standby, ...] = Field(default=(), max_length=MAX_MEMBERS)
    """Members that speak only in place of a failed one."""
    manager_config: ManagerConfig = RoundRobinConfig()
    shared_block_ids: Annotated[tuple[BlockId, ...], AfterValidator(_check_unique_blocks)] = Field(
        default=(), max_length=MAX_BLOCKS
    )
    """Blocks whose text is in every member's prompt, in this order."""
    shared_memory: tuple[MemoryBlock, ...] = ()
    """Text of the shared blocks at the time of reading."""
    settings: GroupSettings = GroupSettings()
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    revision: PositiveInt = 1
    """Increases with every change."""

    @model_validator(mode="after")
    def _check_managers(self) -> Self:
        for manager_id in self.manager_ids:
            if manager_id in self.member_ids:
                first = manager_id == getattr(self.manager_config, "manager_agent_id", None)
                field = "manager_agent_id" if first else "fallback_manager_ids"
                raise ValueError(f"manager_config.{field}: {manager_id!r} is also a member")
        _check_unique_agents(self.manager_ids)
        return self

    @model_validator(mode="after")
    def _check_standby(self) -> Self:
        _check_unique_agents(self.member_ids)
        for standby in self.standby:
            if standby.stands_in_for is not None and standby.stands_in_for not in self.agent_ids:
                raise ValueError(f"standby: stands_in_for {standby.stands_in_for!r} is not in agent_ids")
        return self

    @property
    def member_ids(self) -> tuple[AgentId, ...]:
        """All members; those on standby last."""
        return (*self.agent_ids, *(standby.agent_id for standby in self.standby))

    @property
    def manager_ids(self) -> tuple[AgentId, ...]:
        """The managing agents; empty for a group managed by a rule."""
        return self.manager_config.manager_ids if isinstance(self.manager_config, DynamicConfig) else ()


def check_members(group: Group, agents: Iterable[Agent]) -> None:
    """Check that all agents of a group exist and that its members' names are unique.

    Raises:
        NotFound: an agent does not exist; the message lists all missing ids.
        InvalidDefinition: two members have the same name.
    """
    known = {agent.id: agent for agent in agents}
    wanted = (*group.member_ids, *group.manager_ids)
    if missing := [agent_id for agent_id in wanted if agent_id not in known]:
        raise NotFound(f"group {group.name!r}: no such agent: {', '.join(map(repr, missing))}")
    names = Counter(known[agent_id].name.casefold() for agent_id in group.member_ids)
    if twice := [name for name, count in names.items() if count > 1]:
        raise InvalidDefinition(f"group {group.name!r}: Duplicate agent names: {', '.join(map(repr, twice))}")


def catch_up_start(catch_up: CatchUp, last_seq: int) -> int:
    """Return the `seq` after which a new member can read.

    Args:
        catch_up: `full`, `none` or `last:N`.
        last_seq: last message of the transcript when it joins.
    """
    if catch_up == "full":
        return 0
    if catch_up == "none":
        return last_seq
    return max(last_seq - int(catch_up.removeprefix("last:")), 0)


class StoredGroup(Record):
    """A group as stored, with its times."""

    group: Group
    default_conversation_id: ConversationId | None
    created_at: datetime
    updated_at: datetime


class GroupFilter(Definition):
    """Filter of groups; all given fields must match."""

    manager_type: str | None = None
    name: str | None = None
    agent_id: AgentId | None = None
    """A member or manager of the group."""


class NewGroup(Definition):
    """Request to create a group."""

    id: Identifier | None = None
    """Null = generated; the same applies to `name`."""
    name: DisplayName | None = None
    description: str = Field(default="", max_length=10_000)
    agent_ids: tuple[AgentId, ...] = Field(default=(), max_length=MAX_MEMBERS)
    standby: tuple[Standby, ...] = Field(default=(), max_length=MAX_MEMBERS)
    manager_config: ManagerConfig = RoundRobinConfig()
    shared_block_ids: tuple[BlockId, ...] = Field(default=(), max_length=MAX_BLOCKS)
    settings: GroupSettings = GroupSettings()
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
