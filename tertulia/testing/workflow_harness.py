"""The workflow test harness: agents, groups, and a client whose workers poll task queues of their own."""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tertulia.client.conversation import Conversation
from tertulia.client.manifest import AgentSpec, GroupSpec, Manifest
from tertulia.configuration import Configuration
from tertulia.core.ids import ConversationId
from tertulia.core.records import FinishedTurn, Message
from tertulia.core.status import ConversationStatus
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.testing.client import DirectClient
from tertulia.testing.polling import eventually
from tertulia.worker import run_workers

FAST_RETRIES = {"retry_initial_seconds": 0.02, "model_attempts": 2}


class WorkflowHarness:
    """A client of a running worker, with unique names of agents and groups.

    Args:
        client: reaches the worker.
        model: controls the offline model that the worker calls.
    """

    def __init__(self, client: DirectClient, model: OfflineModelControl) -> None:
        self.client = client
        self.model = model
        self._suffix = uuid.uuid4().hex[:8]

    def name(self, short: str) -> str:
        """Return a name that no other test uses."""
        return f"{short}-{self._suffix}"

    async def agents(self, *names: str, instructions: str = "") -> list[str]:
        """Create agents; return their full names."""
        full = [self.name(name) for name in names]
        written = [
            AgentSpec.model_validate(
                {
                    "name": name,
                    "instructions": f"You are {name}, a thoughtful person. {instructions}",
                    "model": {"model": f"offline-{name}"},
                }
            )
            for name in full
        ]
        await self.client.apply(Manifest(agents=tuple(written)))
        return full

    async def group(
        self,
        *members: str,
        manager: dict[str, Any] | None = None,
        standby: Sequence[str] = (),
        **settings: Any,
    ) -> str:
        """Create agents with these short names and a group of them; return the group's name."""
        await self.agents(*members, *standby)
        full = [self.name(member) for member in members]
        return await self.group_of(full, manager, [self.name(one) for one in standby], **settings)

    async def group_of(
        self,
        members: Sequence[str],
        manager: dict[str, Any] | None = None,
        standby: Sequence[str] = (),
        **settings: Any,
    ) -> str:
        """Create a group of existing agents."""
        written = GroupSpec.model_validate(
            {
                "name": self.name("group") + uuid.uuid4().hex[:4],
                "description": "A table in a café.",
                "agents": members,
                "standby": standby,
                "manager_config": manager or {"manager_type": "round_robin"},
                "settings": {**FAST_RETRIES, **settings},
            }
        )
        await self.client.apply(Manifest(groups=(written,)))
        return written.name

    async def start(self, group: str, message: str, **options: Any) -> ConversationId:
        """Start a conversation with the options of `Conversations.create`; return its id."""
        return (await self.client.conversations.create(group, message, **options)).id

    def handle(self, conversation_id: str) -> Conversation:
        """Return a handle of a conversation."""
        return self.client.conversations.handle(conversation_id)

    async def wait_until(
        self, conversation_id: str, condition: Callable[[ConversationStatus], bool], *, seconds: float = 20
    ) -> ConversationStatus:
        """Return the conversation's status once `condition` holds for it."""
        return await eventually(lambda: self.handle(conversation_id).status(live=True), condition, seconds=seconds)

    async def wait_until_idle(
        self, conversation_id: str, *, rounds: int = 1, seconds: float = 20
    ) -> ConversationStatus:
        """Return the status once this many rounds have ended and nothing waits."""
        return await self.wait_until(
            conversation_id,
            lambda status: (
                status.phase == "ready"
                and status.round >= rounds
                and status.stop_reason is not None
                and not status.pending.messages
            ),
            seconds=seconds,
        )

    async def transcript(self, conversation_id: str) -> list[Message]:
        """Return the whole transcript, checked for gaps."""
        messages = [message async for message in self.handle(conversation_id).transcript()]
        assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
        return messages

    async def turns(self, conversation_id: str) -> list[FinishedTurn]:
        """Return every turn, checked for gaps."""
        turns = [turn async for turn in self.handle(conversation_id).turns()]
        assert [turn.turn for turn in turns] == list(range(1, len(turns) + 1))
        return turns

    async def speakers(self, conversation_id: str) -> list[str]:
        """Return the speakers in order, by short name."""
        return [turn.speaker.rpartition("-")[0] for turn in await self.turns(conversation_id)]


@asynccontextmanager
async def open_workflow_harness(stack: Stack, **variables: str) -> AsyncIterator[WorkflowHarness]:
    """Context manager: a harness whose worker, in this process, polls task queues of its own.

    Args:
        stack: with the offline model.
        variables: settings of the worker, such as `TERTULIA_MAX_CONCURRENT_MODEL_CALLS`.

    Raises:
        Unavailable: a server of the stack does not answer.
    """
    environment = stack.environment | {"TERTULIA_TASK_QUEUE": f"test-{uuid.uuid4().hex[:8]}"}
    environment |= {"TERTULIA_GRACEFUL_SHUTDOWN_SECONDS": "1", **variables}
    configuration = Configuration.from_environment(environment)
    async with DirectClient.open(configuration) as client, run_workers(client.scope.temporal, configuration):
        yield WorkflowHarness(client, stack.model)
