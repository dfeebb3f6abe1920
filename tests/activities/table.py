"""A conversation for activity tests, with the arguments that the workflow would give."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from temporalio.testing import ActivityEnvironment

from activities.choosing import Choosing
from activities.contracts import (
    ChooseSpeaker,
    ContextLimits,
    LoadConversation,
    RecordFailedTurn,
    RecordPosts,
    SpeakerChoice,
    TakeTurn,
    TurnResult,
)
from activities.keeping import Keeping
from activities.speaking import Speaking
from devstack.offline_model import OfflineModelControl
from groups.commands import DEFAULT_SENDER
from groups.ids import AgentId, CommandId, ConversationId
from groups.roster import MemberRef
from groups.state import Post
from starter.definitions import DefinitionFile, WrittenAgent, WrittenGroup, apply_definitions
from store.database import Database
from store.transcript import Message, read_messages

LIMITS = ContextLimits(messages=20, tokens=4_000)


@dataclass
class Table:
    """One opened conversation and the activities that work on it."""

    database: Database
    keeping: Keeping
    speaking: Speaking
    choosing: Choosing
    model: OfflineModelControl
    conversation: ConversationId = field(default_factory=lambda: ConversationId(f"talk-{uuid.uuid4().hex[:8]}"))
    members: dict[str, MemberRef] = field(default_factory=dict)

    async def open(self) -> None:
        """Define the agents and the group, load the conversation and record its first message."""
        suffix = uuid.uuid4().hex[:6]
        written = [
            WrittenAgent.model_validate({"name": f"{short}-{suffix}", "instructions": f"You are {short}-{suffix}."})
            for short in ("Ana", "Ben", "Cleo", "Host")
        ]
        group = WrittenGroup.model_validate(
            {
                "name": f"group-{suffix}",
                "agents": [one.name for one in written[:3]],
                "manager_config": {"manager_type": "dynamic", "manager_agent_id": written[3].name},
            }
        )
        applied = await apply_definitions(self.database, DefinitionFile(agents=tuple(written), groups=(group,)))
        self.members = {
            one.name.rpartition("-")[0]: MemberRef(agent_id=AgentId(one.id), name=one.name) for one in applied[:4]
        }
        await self.run(
            self.keeping.load_conversation, LoadConversation(conversation_id=self.conversation, group=group.name)
        )
        post = Post(message_id=CommandId("first"), sender=DEFAULT_SENDER, text="Shall we?")
        await self.run(self.keeping.record_posts, RecordPosts(conversation_id=self.conversation, posts=(post,)))

    async def run(self, activity: Callable[..., Any], argument: Any, *, attempt: int = 1) -> Any:
        """Run an activity as a worker would, as that attempt."""
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, attempt=attempt)
        return await environment.run(activity, argument)

    async def take_turn(self, turn: int, short: str, *, seq: int, attempt: int = 1, **changes: Any) -> TurnResult:
        """Let that member take that turn."""
        work = self.work(turn, short, seq).model_copy(update=changes)
        result: TurnResult = await self.run(self.speaking.take_turn, work, attempt=attempt)
        return result

    async def fail_turn(self, turn: int, short: str, *, seq: int) -> TurnResult:
        """Record that the turn failed."""
        work = RecordFailedTurn(**dict(self.work(turn, short, seq)), error="no answer", attempts=3)
        result: TurnResult = await self.run(self.keeping.record_failed_turn, work)
        return result

    async def choose(self, turn: int, *shorts: str, attempt: int = 1, **changes: Any) -> SpeakerChoice:
        """Let the host choose among these."""
        work = ChooseSpeaker(
            conversation_id=self.conversation,
            round=1,
            turn=turn,
            manager_id=self.members["Host"].agent_id,
            candidates=tuple(self.members[short] for short in shorts),
            context=LIMITS,
            max_selection_attempts=3,
            model_attempts=3,
            timeout_seconds=5,
        ).model_copy(update=changes)
        choice: SpeakerChoice = await self.run(self.choosing.choose_speaker, work, attempt=attempt)
        return choice

    def work(self, turn: int, short: str, seq: int) -> TakeTurn:
        """The argument that the workflow would give for this turn."""
        return TakeTurn(
            conversation_id=self.conversation,
            turn=turn,
            round=1,
            speaker=self.members[short],
            epoch=1,
            seq=seq,
            chosen_by="manager",
            reason="because",
            tokens=("DONE!",),
            context=LIMITS,
            preview_chars=500,
            max_message_chars=1_000,
            model_attempts=3,
            timeout_seconds=5,
        )

    async def messages(self) -> list[Message]:
        """The transcript."""
        return await read_messages(self.database, self.conversation)
