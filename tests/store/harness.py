"""A conversation in the database, and short ways to change it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from tertulia.core.agents import Agent
from tertulia.core.group import Group, GroupSettings
from tertulia.core.ids import DEFAULT_ORGANISATION, AgentId, CommandId, ConversationId, GroupId
from tertulia.core.records import FinishedTurn, MemberRow, Message, TurnRecord
from tertulia.core.roster import Member, MemberRef, Roster
from tertulia.core.roster_changes import AnyRosterChange, apply_roster_change
from tertulia.core.state import Post
from tertulia.store.agents import save_agent
from tertulia.store.conversations import ConversationOpening, open_conversation
from tertulia.store.database import Database
from tertulia.store.groups import save_group
from tertulia.store.membership import apply_changes, read_members
from tertulia.store.selections import SelectionKey
from tertulia.store.transcript import read_messages, record_posts
from tertulia.store.turns import commit_turn


def unique_id(prefix: str) -> str:
    return f"{prefix}-{uuid4().hex[:12]}"


def post(text: str, message_id: str | None = None) -> Post:
    return Post(message_id=CommandId(message_id or unique_id("m")), sender="User", text=text)


@dataclass
class StoreHarness:
    """One conversation and the agents that can take part in it."""

    database: Database
    conversation_id: ConversationId
    group: Group
    agents: list[Agent]
    roster: Roster
    turn: int = 0
    seq: int = 0

    def ref(self, index: int) -> MemberRef:
        agent = self.agents[index]
        return MemberRef(agent_id=agent.id, name=agent.name)

    def record(self, *, turn: int | None = None, speaker: int = 0, **fields: object) -> TurnRecord:
        """Return the record of the next turn, in which a member spoke."""
        return TurnRecord.model_validate(
            {
                "turn": turn or self.turn + 1,
                "round": 1,
                "epoch": 1,
                "speaker_id": self.agents[speaker].id,
                "speaker": self.agents[speaker].name,
                "chosen_by": "round_robin",
                "reason": "next in rotation",
                "outcome": "spoke",
                "seq": self.seq + 1,
                "attempt": 1,
                "model": "m-1",
                "prompt_tokens": 7,
                "completion_tokens": 5,
                "started_at": datetime(2026, 1, 1, tzinfo=UTC),
                **fields,
            }
        )

    def selection(self, round: int, turn: int, manager: int = 3) -> SelectionKey:
        """Return the key of the agent's selection."""
        return SelectionKey(
            conversation_id=self.conversation_id, round=round, turn=turn, manager_id=self.agents[manager].id
        )

    async def commit_next_turn(self, text: str, *, speaker: int = 0) -> None:
        """Commit the next turn."""
        record = self.record(speaker=speaker)
        assert await self.commit(record, text) is None
        self.turn, self.seq = record.turn, record.seq

    async def commit(self, record: TurnRecord, text: str | None) -> FinishedTurn | None:
        return await commit_turn(self.database, self.conversation_id, record, seq_before=self.seq, text=text)

    async def post(self, *posts: Post) -> int:
        self.seq = await record_posts(self.database, self.conversation_id, posts)
        return self.seq

    async def change(self, *changes: AnyRosterChange) -> None:
        """Apply roster changes as a conversation does."""
        first_epoch = self.roster.epoch + 1
        for change in changes:
            self.roster = apply_roster_change(self.roster, change, self.turn)
        await apply_changes(self.database, self.conversation_id, changes, first_epoch, self.roster)

    async def messages(self) -> list[Message]:
        return await read_messages(self.database, self.conversation_id)

    async def member(self, index: int) -> MemberRow:
        rows = await read_members(self.database, self.conversation_id)
        return next(row for row in rows if row.agent_id == self.agents[index].id)


async def open_store_harness(database: Database, settings: GroupSettings | None = None) -> StoreHarness:
    """Open a new conversation of three members; two more agents can join."""
    suffix = unique_id("x")
    agents = [
        Agent(id=AgentId(f"a{number}-{suffix}"), name=f"Agent {number} {suffix}", description=f"number {number}")
        for number in range(5)
    ]
    for agent in agents:
        await save_agent(database, DEFAULT_ORGANISATION, agent)
    group = Group(
        id=GroupId(f"g-{suffix}"),
        name=f"Group {suffix}",
        description="talks",
        agent_ids=tuple(agent.id for agent in agents[:3]),
        settings=settings or GroupSettings(),
    )
    await save_group(database, DEFAULT_ORGANISATION, group)
    members = tuple(Member(agent_id=agent.id, name=agent.name) for agent in agents[:3])
    conversation_id = ConversationId(unique_id("c"))
    await open_conversation(database, conversation_id, ConversationOpening(group_id=group.id, members=tuple(members)))
    return StoreHarness(database, conversation_id, group, agents, Roster(epoch=1, members=members))
