"""Database activities of conversations: open, load, change members, record posts and silent turns, close.

Invariant: every activity is idempotent. An attempt after a committed one changes nothing and returns the same result.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from tertulia.activities.failpoints import Failpoint, hold_if_armed
from tertulia.activities.turn_results import base_record_fields, build_turn_result, read_committed_result
from tertulia.core.activity_contracts import (
    ActivityName,
    AnnouncePhaseInput,
    ApplyMembershipInput,
    CloseConversationInput,
    CloseConversationResult,
    CloseRoundInput,
    FindNewcomerInput,
    LoadConversationInput,
    LoadConversationResult,
    LoadGroupInput,
    LoadGroupResult,
    RecordPostsInput,
    RecordPostsResult,
    RecordSilentTurnInput,
    TurnResult,
)
from tertulia.core.agents import Agent
from tertulia.core.errors import InvalidDefinition, NotFound
from tertulia.core.group import Group, check_members
from tertulia.core.ids import AgentId, OrganisationId
from tertulia.core.records import TurnRecord
from tertulia.core.roster import MemberRef
from tertulia.core.state import Fork
from tertulia.store.agents import find_agent, read_agents
from tertulia.store.conversations import ConversationOpening, close_conversation, open_conversation
from tertulia.store.database import Database
from tertulia.store.forks import read_fork_origin
from tertulia.store.groups import find_group
from tertulia.store.membership import apply_changes, read_members
from tertulia.store.rounds import RoundRecord, announce_phase, close_round
from tertulia.store.transcript import record_posts
from tertulia.store.turns import commit_turn


class ConversationRecordActivities:
    """The database activities of conversations, on the task queue of the workflows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def activities(self) -> list[Callable[..., Any]]:
        """Return all activities of this class, for a worker."""
        return [
            self.load_conversation,
            self.find_newcomer,
            self.apply_membership,
            self.record_posts,
            self.record_silent_turn,
            self.close_conversation,
            self.load_group,
            self.close_round,
            self.announce_phase,
        ]

    @activity.defn(name=ActivityName.LOAD_CONVERSATION)
    async def load_conversation(self, request: LoadConversationInput) -> LoadConversationResult:
        """Read the group and open the conversation.

        Raises:
            NotFound: no such group.
            InvalidDefinition: the group has no agents.
        """
        # Again until the group that was read is the group that was opened: it can change in between.
        while True:
            loaded = await self._read_group(request.organisation_id, request.group)
            if request.fork:
                loaded = loaded.model_copy(update={"roster": await self._read_fork_roster(request, request.fork)})
            elif len(loaded.members) == len(loaded.standby):
                raise InvalidDefinition(f"Empty group: {loaded.group_name!r} has no agents; add one, then start again")
            opening = ConversationOpening(
                organisation_id=request.organisation_id,
                group_id=loaded.group_id,
                revision=loaded.revision,
                members=loaded.members if loaded.roster is None else loaded.roster,
                standby=tuple(member.agent_id for member in loaded.standby),
                catch_up=loaded.settings.catch_up,
                fork=request.fork,
            )
            if await open_conversation(self._database, request.conversation_id, opening):
                fork_origin = await read_fork_origin(self._database, request.conversation_id) if request.fork else None
                return loaded.model_copy(update={"fork_origin": fork_origin})

    async def _read_fork_roster(self, request: LoadConversationInput, fork: Fork) -> tuple[MemberRef, ...]:
        """Return the fork's members: the agents it names, or the members of its source."""
        if not fork.agent_ids:
            participants = await read_members(self._database, fork.source)
            return tuple(
                MemberRef(agent_id=AgentId(member.agent_id), name=member.name)
                for member in participants
                if member.state != "removed"
            )
        agents = await read_agents(self._database, request.organisation_id, fork.agent_ids)
        return tuple(MemberRef(agent_id=agent.id, name=agent.name) for agent in agents)

    @activity.defn(name=ActivityName.LOAD_GROUP)
    async def load_group(self, request: LoadGroupInput) -> LoadGroupResult:
        """Read the group in its current revision; None if it was deleted."""
        try:
            group = await find_group(self._database, request.organisation_id, request.group_id)
        except NotFound:
            return LoadGroupResult(group=None)
        ids = (*group.member_ids, *group.manager_ids)
        return LoadGroupResult(
            group=_loaded_conversation(group, await read_agents(self._database, request.organisation_id, ids))
        )

    async def _read_group(self, organisation_id: OrganisationId, id_or_name: str) -> LoadConversationResult:
        group = await find_group(self._database, organisation_id, id_or_name)
        agents = await read_agents(self._database, organisation_id, (*group.member_ids, *group.manager_ids))
        check_members(group, agents)
        return _loaded_conversation(group, agents)

    @activity.defn(name=ActivityName.FIND_NEWCOMER)
    async def find_newcomer(self, request: FindNewcomerInput) -> MemberRef:
        """Return the agent with this id or unique name.

        Raises:
            NotFound: no such agent.
        """
        agent = await find_agent(self._database, request.organisation_id, request.agent)
        return MemberRef(agent_id=agent.id, name=agent.name)

    @activity.defn(name=ActivityName.ANNOUNCE_PHASE)
    async def announce_phase(self, request: AnnouncePhaseInput) -> None:
        """Record a change of the conversation's phase and notify readers."""
        await announce_phase(self._database, request.conversation_id, request.change)

    @activity.defn(name=ActivityName.CLOSE_ROUND)
    async def close_round(self, request: CloseRoundInput) -> None:
        """Record the result of a round and notify readers."""
        record = RoundRecord(
            round=request.round,
            turns=request.turns,
            seq=request.seq,
            stop_reason=request.change.reason,
            explanation=request.change.explanation,
            started_at=request.started_at,
            **request.usage.model_dump(),
        )
        await close_round(self._database, request.conversation_id, record, request.change)

    @activity.defn(name=ActivityName.APPLY_MEMBERSHIP)
    async def apply_membership(self, request: ApplyMembershipInput) -> None:
        """Write changes of the roster and their audit entries."""
        await hold_if_armed(Failpoint.BEFORE_MEMBERSHIP_COMMIT)
        await apply_changes(
            self._database, request.conversation_id, request.changes, request.first_epoch, request.roster
        )
        await hold_if_armed(Failpoint.AFTER_MEMBERSHIP_COMMIT)

    @activity.defn(name=ActivityName.RECORD_POSTS)
    async def record_posts(self, request: RecordPostsInput) -> RecordPostsResult:
        """Append posted messages to the transcript, each once."""
        await hold_if_armed(Failpoint.BEFORE_POSTS_COMMIT)
        last_seq = await record_posts(
            self._database, request.conversation_id, request.posts, round=request.round, begins=request.round_start
        )
        return RecordPostsResult(last_seq=last_seq)

    @activity.defn(name=ActivityName.RECORD_SILENT_TURN)
    async def record_silent_turn(self, request: RecordSilentTurnInput) -> TurnResult:
        """Commit a turn without a message; return the committed turn instead if there is one."""
        record = TurnRecord(
            **base_record_fields(request),
            outcome=request.outcome,
            error=request.error,
            seq=request.seq,
            attempt=request.attempts,
            model_calls=0,
            started_at=datetime.now(UTC),
        )
        earlier = await commit_turn(self._database, request.conversation_id, record, seq_before=request.seq, text=None)
        return (
            await read_committed_result(self._database, request) if earlier else build_turn_result(request, record, "")
        )

    @activity.defn(name=ActivityName.CLOSE_CONVERSATION)
    async def close_conversation(self, request: CloseConversationInput) -> CloseConversationResult:
        """Close the conversation: move every member's cursor to the end and store the final status."""
        await hold_if_armed(Failpoint.BEFORE_CLOSING_COMMIT)
        last_seq = await close_conversation(
            self._database, request.conversation_id, request.change, request.final_status
        )
        await hold_if_armed(Failpoint.AFTER_CLOSING_COMMIT)
        return CloseConversationResult(last_seq=last_seq)


def _loaded_conversation(group: Group, agents: Sequence[Agent]) -> LoadConversationResult:
    refs = [MemberRef(agent_id=agent.id, name=agent.name) for agent in agents]
    return LoadConversationResult(
        group_id=group.id,
        group_name=group.name,
        description=group.description,
        manager_config=group.manager_config,
        settings=group.settings,
        members=tuple(member for member in refs if member.agent_id not in group.manager_ids),
        standby=group.standby,
        managers=tuple(member for member in refs if member.agent_id in group.manager_ids),
        revision=group.revision,
    )
