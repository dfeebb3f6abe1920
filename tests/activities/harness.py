"""Harness of activity tests: one conversation, and activities with the inputs that the workflow would build."""

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from tertulia.activities.choose_speaker import SpeakerSelectionActivities
from tertulia.activities.conversation_records import ConversationRecordActivities
from tertulia.activities.take_turn import TurnActivities
from tertulia.client.definition_store import DatabaseDefinitions
from tertulia.client.manifest import AgentSpec, GroupSpec, Manifest, apply_manifest
from tertulia.core.activity_contracts import (
    ChooseSpeakerInput,
    ChooseSpeakerResult,
    ContextLimits,
    LoadConversationInput,
    RecordPostsInput,
    RecordSilentTurnInput,
    TakeTurnInput,
    TurnResult,
)
from tertulia.core.agents import ModelChoice, ModelSettings
from tertulia.core.commands import DEFAULT_SENDER
from tertulia.core.ids import DEFAULT_ORGANISATION, AgentId, CommandId, ConversationId
from tertulia.core.records import Message
from tertulia.core.roster import MemberRef
from tertulia.core.state import Post
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.service.connection import Connection
from tertulia.service.scope import OrganisationScope
from tertulia.store.agents import find_agent, save_agent
from tertulia.store.database import Database
from tertulia.store.selections import SelectionKey
from tertulia.store.transcript import read_messages

MAX_ATTEMPTS = 50
LIMITS = ContextLimits(messages=20, tokens=4_000)


@dataclass
class ActivityHarness:
    """One open conversation, and the activities that use it."""

    database: Database
    record_activities: ConversationRecordActivities
    turn_activities: TurnActivities
    selection_activities: SpeakerSelectionActivities
    model: OfflineModelControl
    conversation: ConversationId = field(default_factory=lambda: ConversationId(f"talk-{uuid.uuid4().hex[:8]}"))
    members: dict[str, MemberRef] = field(default_factory=dict)
    heartbeats: list[Sequence[Any]] = field(default_factory=list)
    """Details of the heartbeats of the last attempt."""

    async def open(self) -> None:
        """Create the agents and the group, load the conversation and record its first message."""
        suffix = uuid.uuid4().hex[:6]
        written = [
            AgentSpec.model_validate({"name": f"{short}-{suffix}", "instructions": f"You are {short}-{suffix}."})
            for short in ("Ana", "Ben", "Cleo", "Host")
        ]
        group = GroupSpec.model_validate(
            {
                "name": f"group-{suffix}",
                "agents": [one.name for one in written[:3]],
                "manager_config": {"manager_type": "dynamic", "manager_agent_id": written[3].name},
            }
        )
        # No Temporal client: it is only used to change an existing group.
        connection = Connection(cast(Client, None), self.database, "unused")
        store = DatabaseDefinitions(OrganisationScope(connection, DEFAULT_ORGANISATION))
        applied = await apply_manifest(store, Manifest(agents=tuple(written), groups=(group,)))
        self.members = {
            one.name.rpartition("-")[0]: MemberRef(agent_id=AgentId(one.id), name=one.name) for one in applied[:4]
        }
        await self.run(
            self.record_activities.load_conversation,
            LoadConversationInput(conversation_id=self.conversation, group=group.name),
        )
        post = Post(message_id=CommandId("first"), sender=DEFAULT_SENDER, text="Shall we?")
        await self.run(
            self.record_activities.record_posts, RecordPostsInput(conversation_id=self.conversation, posts=(post,))
        )

    async def run(
        self, activity: Callable[..., Any], argument: Any, *, attempt: int = 1, heartbeat_details: Sequence[Any] = ()
    ) -> Any:
        """Run one attempt of an activity, given the heartbeat details that the previous attempt left."""
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, attempt=attempt, heartbeat_details=heartbeat_details)
        self.heartbeats.clear()
        environment.on_heartbeat = lambda *details: self.heartbeats.append(details)
        return await environment.run(activity, argument)

    async def run_until_result(self, activity: Callable[..., Any], argument: Any) -> tuple[Any, list[ApplicationError]]:
        """Run attempts of an activity until one succeeds; return its result and the errors of the earlier ones."""
        errors: list[ApplicationError] = []
        heartbeat_details: Sequence[Any] = ()
        while len(errors) < MAX_ATTEMPTS:
            try:
                return await self.run(
                    activity, argument, attempt=len(errors) + 1, heartbeat_details=heartbeat_details
                ), errors
            except ApplicationError as error:
                assert not error.non_retryable, "Temporal would not retry"
                errors.append(error)
                # Heartbeat details are sent as JSON.
                if self.heartbeats:
                    heartbeat_details = json.loads(json.dumps(self.heartbeats[-1]))
        raise AssertionError(f"no end of failures: {errors[-1]}")

    async def take_turn(self, turn: int, short: str, *, seq: int, attempt: int = 1, **changes: Any) -> TurnResult:
        """Take a turn in one attempt."""
        turn_input = self.turn_input(turn, short, seq, **changes)
        result: TurnResult = await self.run(self.turn_activities.take_turn, turn_input, attempt=attempt)
        return result

    async def take_turn_until_result(
        self, turn: int, short: str, *, seq: int, **changes: Any
    ) -> tuple[TurnResult, list[ApplicationError]]:
        """Take a turn, in as many attempts as needed."""
        return await self.run_until_result(self.turn_activities.take_turn, self.turn_input(turn, short, seq, **changes))

    async def record_silent_turn(self, turn: int, short: str, *, seq: int, **changes: Any) -> TurnResult:
        """Record a turn without a message; by default a failed one."""
        fields: dict[str, Any] = {"error": "no answer", "attempts": 3, **changes}
        turn_input = RecordSilentTurnInput(**dict(self.turn_input(turn, short, seq)), **fields)
        result: TurnResult = await self.run(self.record_activities.record_silent_turn, turn_input)
        return result

    async def choose(self, turn: int, *shorts: str, attempt: int = 1, **changes: Any) -> ChooseSpeakerResult:
        """Let the host choose among these members, in one attempt."""
        choice: ChooseSpeakerResult = await self.run(
            self.selection_activities.choose_speaker, self.choose_input(turn, *shorts, **changes), attempt=attempt
        )
        return choice

    def choose_input(self, turn: int, *shorts: str, **changes: Any) -> ChooseSpeakerInput:
        """Build the input of `choose_speaker`."""
        return ChooseSpeakerInput(
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

    def key(self, turn: int, manager: str = "Host") -> SelectionKey:
        """Return the key of a manager's choice for a turn."""
        return SelectionKey(
            conversation_id=self.conversation, round=1, turn=turn, manager_id=self.members[manager].agent_id
        )

    async def set_models(self, short: str, *names: str | None) -> None:
        """Set an agent's model and its fallback models, by name."""
        agent = await find_agent(self.database, DEFAULT_ORGANISATION, self.members[short].name)
        fallbacks = tuple(ModelChoice(model=name) for name in names[1:])
        model = ModelSettings(model=names[0], fallbacks=fallbacks)
        await save_agent(self.database, DEFAULT_ORGANISATION, agent.model_copy(update={"model": model}))

    def turn_input(self, turn: int, short: str, seq: int, **changes: Any) -> TakeTurnInput:
        """Build the input of `take_turn`."""
        return TakeTurnInput(
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
        ).model_copy(update=changes)

    async def messages(self) -> list[Message]:
        """Return the transcript."""
        return await read_messages(self.database, self.conversation)
