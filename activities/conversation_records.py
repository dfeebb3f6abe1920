"""Reads and writes of the database that call no model: opening, membership, messages from outside, closing."""

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
    """The activities on the workflow's own queue."""

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
    async def load_conversation(self, work: LoadConversationInput) -> LoadConversationResult:
        """Read the group and open the conversation; done again, it changes nothing."""
        while True:
            loaded = await self._read_group(work.organisation_id, work.group)
            if work.fork:
                loaded = loaded.model_copy(update={"roster": await self._read_fork_roster(work, work.fork)})
            elif len(loaded.members) == len(loaded.standby):
                raise InvalidDefinition(f"Empty group: {loaded.group_name!r} has no agents to talk")
            opening = ConversationOpening(
                organisation_id=work.organisation_id,
                group_id=loaded.group_id,
                revision=loaded.revision,
                members=loaded.members if loaded.roster is None else loaded.roster,
                standby=tuple(member.agent_id for member in loaded.standby),
                catch_up=loaded.settings.catch_up,
                fork=work.fork,
            )
            if await open_conversation(self._database, work.conversation_id, opening):
                fork_origin = await read_fork_origin(self._database, work.conversation_id) if work.fork else None
                return loaded.model_copy(update={"fork_origin": fork_origin})

    async def _read_fork_roster(self, work: LoadConversationInput, fork: Fork) -> tuple[MemberRef, ...]:
        """Who takes part in the fork: the agents it names, or those who take part in the conversation it comes from."""
        if not fork.agent_ids:
            participants = await read_members(self._database, fork.source)
            return tuple(
                MemberRef(agent_id=AgentId(member.agent_id), name=member.name)
                for member in participants
                if member.state != "removed"
            )
        agents = await read_agents(self._database, work.organisation_id, fork.agent_ids)
        return tuple(MemberRef(agent_id=agent.id, name=agent.name) for agent in agents)

    @activity.defn(name=ActivityName.LOAD_GROUP)
    async def load_group(self, work: LoadGroupInput) -> LoadGroupResult:
        """Read the group as it is now. An agent that was deleted a moment later is left out: it leaves anyway."""
        try:
            group = await find_group(self._database, work.organisation_id, work.group_id)
        except NotFound:
            return LoadGroupResult(group=None)
        ids = (*group.member_ids, *group.manager_ids)
        return LoadGroupResult(
            group=_loaded_conversation(group, await read_agents(self._database, work.organisation_id, ids))
        )

    async def _read_group(self, organisation_id: OrganisationId, id_or_name: str) -> LoadConversationResult:
        group = await find_group(self._database, organisation_id, id_or_name)
        agents = await read_agents(self._database, organisation_id, (*group.member_ids, *group.manager_ids))
        check_members(group, agents)
        return _loaded_conversation(group, agents)

    @activity.defn(name=ActivityName.FIND_NEWCOMER)
    async def find_newcomer(self, work: FindNewcomerInput) -> MemberRef:
        """The agent of that id or name."""
        agent = await find_agent(self._database, work.organisation_id, work.agent)
        return MemberRef(agent_id=agent.id, name=agent.name)

    @activity.defn(name=ActivityName.ANNOUNCE_PHASE)
    async def announce_phase(self, work: AnnouncePhaseInput) -> None:
        """Tell those outside of the conversation's phase, once."""
        await announce_phase(self._database, work.conversation_id, work.change)

    @activity.defn(name=ActivityName.CLOSE_ROUND)
    async def close_round(self, work: CloseRoundInput) -> None:
        """Keep what came of a round, and tell that it has ended; done again, it changes nothing."""
        record = RoundRecord(
            round=work.round,
            turns=work.turns,
            seq=work.seq,
            stop_reason=work.change.reason,
            explanation=work.change.explanation,
            started_at=work.started_at,
            **work.usage.model_dump(),
        )
        await close_round(self._database, work.conversation_id, record, work.change)

    @activity.defn(name=ActivityName.APPLY_MEMBERSHIP)
    async def apply_membership(self, work: ApplyMembershipInput) -> None:
        """Write changes of the roster and their audit; done again, it changes nothing."""
        await hold_if_armed(Failpoint.BEFORE_MEMBERSHIP_COMMIT)
        await apply_changes(self._database, work.conversation_id, work.changes, work.first_epoch, work.roster)
        await hold_if_armed(Failpoint.AFTER_MEMBERSHIP_COMMIT)

    @activity.defn(name=ActivityName.RECORD_POSTS)
    async def record_posts(self, work: RecordPostsInput) -> RecordPostsResult:
        """Append messages from outside, each once."""
        await hold_if_armed(Failpoint.BEFORE_POSTS_COMMIT)
        last_seq = await record_posts(
            self._database, work.conversation_id, work.posts, round=work.round, begins=work.round_start
        )
        return RecordPostsResult(last_seq=last_seq)

    @activity.defn(name=ActivityName.RECORD_SILENT_TURN)
    async def record_silent_turn(self, work: RecordSilentTurnInput) -> TurnResult:
        """Keep that nothing was said in a turn; if it was committed after all, the words stand."""
        record = TurnRecord(
            **base_record_fields(work),
            outcome=work.outcome,
            error=work.error,
            seq=work.seq,
            attempt=work.attempts,
            model_calls=0,
            started_at=datetime.now(UTC),
        )
        earlier = await commit_turn(self._database, work.conversation_id, record, seq_before=work.seq, text=None)
        return await read_committed_result(self._database, work) if earlier else build_turn_result(work, record, "")

    @activity.defn(name=ActivityName.CLOSE_CONVERSATION)
    async def close_conversation(self, work: CloseConversationInput) -> CloseConversationResult:
        """Let every member's cursor catch up, and keep the final status."""
        await hold_if_armed(Failpoint.BEFORE_CLOSING_COMMIT)
        last_seq = await close_conversation(self._database, work.conversation_id, work.change, work.final_status)
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
