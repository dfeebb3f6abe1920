"""Reads and writes of the database that call no model: opening, membership, messages from outside, closing."""

from datetime import UTC, datetime

from temporalio import activity

from activities.contracts import (
    ActivityName,
    ApplyMembership,
    CloseConversation,
    ClosedConversation,
    FindNewcomer,
    LoadConversation,
    LoadedConversation,
    RecordedPosts,
    RecordPosts,
    RecordSilentTurn,
    TurnResult,
)
from activities.failpoints import Failpoint, reached
from activities.results import committed_result, record_of, result_of
from groups.errors import InvalidDefinition
from groups.group import check_members
from groups.roster import MemberRef
from store.conversations import close_conversation, open_conversation
from store.database import Database
from store.definitions import agents_of, find_agent, find_group
from store.membership import apply_changes
from store.transcript import record_posts
from store.turns import TurnRecord, commit_turn


class Keeping:
    """The activities on the workflow's own queue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name=ActivityName.LOAD_CONVERSATION)
    async def load_conversation(self, work: LoadConversation) -> LoadedConversation:
        """Read the group and open the conversation; done again, it changes nothing."""
        group = await find_group(self._database, work.group)
        agents = await agents_of(self._database, (*group.member_ids, *group.manager_ids))
        check_members(group, agents)
        if not group.agent_ids:
            raise InvalidDefinition(f"Empty group: {group.name!r} has no agents to talk")
        people = [MemberRef(agent_id=agent.id, name=agent.name) for agent in agents]
        members = tuple(one for one in people if one.agent_id not in group.manager_ids)
        standby = {one.agent_id for one in group.standby}
        await open_conversation(self._database, work.conversation_id, group.id, members, group.settings, standby)
        return LoadedConversation(
            group_id=group.id,
            group_name=group.name,
            description=group.description,
            manager_config=group.manager_config,
            settings=group.settings,
            members=members,
            standby=group.standby,
            managers=tuple(one for one in people if one.agent_id in group.manager_ids),
        )

    @activity.defn(name=ActivityName.FIND_NEWCOMER)
    async def find_newcomer(self, work: FindNewcomer) -> MemberRef:
        """The agent of that id or name."""
        agent = await find_agent(self._database, work.who)
        return MemberRef(agent_id=agent.id, name=agent.name)

    @activity.defn(name=ActivityName.APPLY_MEMBERSHIP)
    async def apply_membership(self, work: ApplyMembership) -> None:
        """Write changes of the roster and their audit; done again, it changes nothing."""
        await reached(Failpoint.BEFORE_MEMBERSHIP_COMMIT)
        await apply_changes(self._database, work.conversation_id, work.changes, work.first_epoch, work.roster)
        await reached(Failpoint.AFTER_MEMBERSHIP_COMMIT)

    @activity.defn(name=ActivityName.RECORD_POSTS)
    async def record_posts(self, work: RecordPosts) -> RecordedPosts:
        """Append messages from outside, each once."""
        await reached(Failpoint.BEFORE_POSTS_COMMIT)
        return RecordedPosts(last_seq=await record_posts(self._database, work.conversation_id, work.posts))

    @activity.defn(name=ActivityName.RECORD_SILENT_TURN)
    async def record_silent_turn(self, work: RecordSilentTurn) -> TurnResult:
        """Keep that nothing was said in a turn; if it was committed after all, the words stand."""
        record = TurnRecord(
            **record_of(work),
            outcome=work.outcome,
            error=work.error,
            seq=work.seq,
            attempt=work.attempts,
            model_calls=0,
            started_at=datetime.now(UTC),
        )
        earlier = await commit_turn(self._database, work.conversation_id, record, seq_before=work.seq, text=None)
        return await committed_result(self._database, work) if earlier else result_of(work, record, "")

    @activity.defn(name=ActivityName.CLOSE_CONVERSATION)
    async def close_conversation(self, work: CloseConversation) -> ClosedConversation:
        """Let every member's cursor catch up, and keep the final status."""
        await reached(Failpoint.BEFORE_CLOSING_COMMIT)
        last_seq = await close_conversation(self._database, work.conversation_id, work.stop_reason, work.final_status)
        await reached(Failpoint.AFTER_CLOSING_COMMIT)
        return ClosedConversation(last_seq=last_seq)
