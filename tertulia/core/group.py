"""A group: who is meant to talk, who decides who speaks next, and by which rules."""

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
"""Conditions are part of a conversation's state, and nested JSON cannot be read at any depth."""

CatchUp = Annotated[str, StringConstraints(pattern=r"^(full|none|last:[1-9][0-9]{0,5})$")]
"""What a joiner gets to read of what was said before: `full`, `none` or `last:N` messages."""

Intake = Literal["interject", "queue", "batch"]
"""What becomes of a message posted while a round runs: `interject` lets it enter at the next turn boundary; `queue`
gives each waiting message a round of its own, first in first out; `batch` gives all that wait one round together."""


FailureStep = Literal["fallback_model", "standby", "skip"]

InFlight = Literal["finish", "discard", "cancel"]

ClosePolicy = Literal["close", "detach"]
"""Whether the running conversations of a deleted group close, or continue without the group."""


class Standby(Definition):
    """An agent that waits to stand in for a member that fails."""

    agent_id: AgentId
    stands_in_for: AgentId | None = None
    """Only for this member; null = for any."""


class ManagerConfigBase(Definition):
    """What every kind of manager has in common."""

    max_turns: PositiveInt | None = Field(default=None, le=1_000_000)
    """The most turns of one round; without it the kind of manager decides."""
    termination_token: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = (
        DEFAULT_TERMINATION_TOKEN
    )
    """A participant that says this ends the round; null = no such word."""


class RoundRobinConfig(ManagerConfigBase):
    """Everyone speaks in the order of the roster. `max_turns` defaults to the number of active members."""

    manager_type: Literal["round_robin"] = "round_robin"


class DynamicConfig(ManagerConfigBase):
    """An agent chooses who speaks next, and may finish the round. `max_turns` defaults to 20."""

    manager_type: Literal["dynamic"] = "dynamic"
    manager_agent_id: AgentId | None
    """The agent that manages; it is none of the participants. Null = it was deleted: others manage, or a rule."""
    allow_repeated_speaker: bool = False
    """Whether the last speaker may be chosen again at once."""
    max_selection_attempts: PositiveInt = Field(default=3, le=10)
    """How often a manager is asked for one turn before the next one is, or the fallback rule speaks."""
    fallback_manager_ids: tuple[AgentId, ...] = Field(default=(), max_length=5)
    """The agents that manage, in this order, while the manager fails; none of the participants."""
    max_pair_turns: PositiveInt | None = Field(default=10, ge=4, le=100_000)
    """After so many turns that two members had to themselves, a third is chosen; null = never."""
    starvation_turns: PositiveInt | None = Field(default=20, le=100_000)
    """A member unheard for this many turns speaks next, whatever the manager would say; null = never."""

    @property
    def manager_ids(self) -> tuple[AgentId, ...]:
        """All that may manage, in the order in which they are asked."""
        first = () if self.manager_agent_id is None else (self.manager_agent_id,)
        return (*first, *self.fallback_manager_ids)


ManagerConfig = Annotated[RoundRobinConfig | DynamicConfig, Field(discriminator="manager_type")]

DEFAULT_DYNAMIC_TURNS = 20


class GroupSettings(Definition):
    """How a group's conversations run. `update_settings` changes each of these in a running one."""

    intake: Intake = "interject"
    model: str | None = Field(default=None, min_length=1, max_length=200)
    """The provider's name of a model that every member is asked with, instead of its own; null = each its own."""
    catch_up: CatchUp = "full"
    """What a joiner reads of what came before, unless the command that adds it says otherwise."""
    termination: Condition | None = None
    """A further condition that ends a round, beside the manager's `max_turns` and `termination_token`; 50 in all."""
    context_messages: PositiveInt = Field(default=40, ge=2, le=2_000)
    """The most messages of the transcript that one prompt holds."""
    context_tokens: PositiveInt = Field(default=16_000, ge=200, le=2_000_000)
    """About how many tokens of transcript one prompt holds (estimated at 4 characters a token)."""
    preview_chars: NonNegativeInt = Field(default=500, le=4_000)
    """How much of each message a reader of the Temporal UI sees; 0 = no text enters the workflow's history."""
    max_message_chars: PositiveInt = Field(default=32_000, le=200_000)
    """The longest message that may be posted; what a member says beyond it is cut."""
    max_pending_messages: PositiveInt = Field(default=100, le=1_000)
    """How many posted messages may wait; one more is refused."""
    turn_timeout_seconds: PositiveFloat = Field(default=180, le=3_600)
    """How long one attempt at a turn, or at choosing a speaker, may take."""
    heartbeat_timeout_seconds: PositiveFloat = Field(default=5, ge=1, le=600)
    """After how long without a sign of life an attempt is given to another worker."""
    model_attempts: PositiveInt = Field(default=5, le=100)
    """How often a model that fails is tried for one turn before `on_failure` says what follows."""
    retry_initial_seconds: PositiveFloat = Field(default=1, le=600)
    """The pause before the second attempt; each further one is twice as long, 60 s at most. A provider's `retry-after`
    goes before it."""
    on_failure: tuple[FailureStep, ...] = Field(default=("fallback_model", "standby", "skip"), max_length=3)
    """What is tried, in this order, for a turn of which all attempts failed: the agent's fallback models, a member on
    standby in its place; `skip` ends the list, and so does its end."""
    isolate_after_failures: PositiveInt = Field(default=2, le=1_000)
    """A member, or a manager, that fails so many turns in a row is isolated."""
    cool_down_turns: PositiveInt | None = Field(default=10, le=1_000_000)
    """After so many turns one that is isolated has a turn on probation; each further isolation lasts twice as long."""
    cool_down_seconds: PositiveFloat | None = Field(default=300, le=31_536_000)
    """The same by time; what comes first counts. With neither, only an operator ends an isolation."""
    probe_initial_seconds: PositiveFloat = Field(default=5, le=86_400)
    """With nobody left to speak, the conversation rests so long before a member is tried; each time twice as long."""
    probe_maximum_seconds: PositiveFloat = Field(default=300, le=86_400)
    """The longest rest between two such tries."""
    in_flight: InFlight = "finish"
    """What becomes of the turn of a member that is removed while it speaks, unless the command says otherwise: its
    words stand (`finish`), they are dropped (`discard`), or the model call is cancelled (`cancel`)."""
    budgets: tuple[Budget, ...] = Field(default=(), max_length=MAX_BUDGETS)
    """What the conversation and its members may use altogether."""

    @property
    def failure_steps(self) -> tuple[FailureStep, ...]:
        """`on_failure` as far as it counts: nothing is tried after `skip`."""
        steps = self.on_failure
        return steps[: steps.index("skip")] if "skip" in steps else steps

    @field_validator("termination")
    @classmethod
    def _check_condition_count(cls, condition: Condition | None) -> Condition | None:
        if condition and count_conditions(condition) > MAX_CONDITIONS:
            raise ValueError(f"more than {MAX_CONDITIONS} conditions, those inside others counted")
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
    """What the group is for: every member's prompt begins with it."""
    agent_ids: Annotated[tuple[AgentId, ...], AfterValidator(_check_unique_agents)] = Field(
        default=(), max_length=MAX_MEMBERS
    )
    standby: tuple[Standby, ...] = Field(default=(), max_length=MAX_MEMBERS)
    """Members that only speak in the place of one that fails."""
    manager_config: ManagerConfig = RoundRobinConfig()
    shared_block_ids: Annotated[tuple[BlockId, ...], AfterValidator(_check_unique_blocks)] = Field(
        default=(), max_length=MAX_BLOCKS
    )
    """The blocks whose text is in the prompt of every member, in this order."""
    shared_memory: tuple[MemoryBlock, ...] = ()
    """The text of the shared blocks, as it was read."""
    settings: GroupSettings = GroupSettings()
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    revision: PositiveInt = 1
    """Grows with every change."""

    @model_validator(mode="after")
    def _check_managers(self) -> Self:
        for manager_id in self.manager_ids:
            if manager_id in self.member_ids:
                first = manager_id == getattr(self.manager_config, "manager_agent_id", None)
                field = "manager_agent_id" if first else "fallback_manager_ids"
                raise ValueError(f"manager_config.{field}: {manager_id!r} is also a participant")
        _check_unique_agents(self.manager_ids)
        return self

    @model_validator(mode="after")
    def _check_standby(self) -> Self:
        _check_unique_agents(self.member_ids)
        for standby in self.standby:
            if standby.stands_in_for is not None and standby.stands_in_for not in self.agent_ids:
                raise ValueError(f"standby: {standby.stands_in_for!r} is none of agent_ids")
        return self

    @property
    def member_ids(self) -> tuple[AgentId, ...]:
        """All participants, those on standby last."""
        return (*self.agent_ids, *(standby.agent_id for standby in self.standby))

    @property
    def manager_ids(self) -> tuple[AgentId, ...]:
        """The managing agents; none where a rule manages."""
        return self.manager_config.manager_ids if isinstance(self.manager_config, DynamicConfig) else ()


def check_members(group: Group, agents: Iterable[Agent]) -> None:
    """Refuse a group whose agents, or whose manager, do not exist, or of whom two bear one name.

    Raises:
        NotFound: with the ids of all that do not exist.
        InvalidDefinition: with the names that occur twice.
    """
    known = {agent.id: agent for agent in agents}
    wanted = (*group.member_ids, *group.manager_ids)
    if missing := [agent_id for agent_id in wanted if agent_id not in known]:
        raise NotFound(f"group {group.name!r}: no such agent: {', '.join(map(repr, missing))}")
    names = Counter(known[agent_id].name.casefold() for agent_id in group.member_ids)
    if twice := [name for name, count in names.items() if count > 1]:
        raise InvalidDefinition(f"group {group.name!r}: Duplicate agent names: {', '.join(map(repr, twice))}")


def catch_up_start(catch_up: CatchUp, last_seq: int) -> int:
    """The `seq` after which a joiner may read, given the last `seq` of the transcript when it joins."""
    if catch_up == "full":
        return 0
    if catch_up == "none":
        return last_seq
    return max(last_seq - int(catch_up.removeprefix("last:")), 0)


class StoredGroup(Record):
    """A group as it is kept."""

    group: Group
    default_conversation_id: ConversationId | None
    created_at: datetime
    updated_at: datetime


class GroupFilter(Definition):
    """Which groups: those for which all of this holds."""

    manager_type: str | None = None
    name: str | None = None
    agent_id: AgentId | None = None
    """Somebody who is in it, or manages it."""


class NewGroup(Definition):
    """A group that is to be made."""

    id: Identifier | None = None
    """One is made where none is given; the same holds for the name."""
    name: DisplayName | None = None
    description: str = Field(default="", max_length=10_000)
    agent_ids: tuple[AgentId, ...] = Field(default=(), max_length=MAX_MEMBERS)
    standby: tuple[Standby, ...] = Field(default=(), max_length=MAX_MEMBERS)
    manager_config: ManagerConfig = RoundRobinConfig()
    shared_block_ids: tuple[BlockId, ...] = Field(default=(), max_length=MAX_BLOCKS)
    settings: GroupSettings = GroupSettings()
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
