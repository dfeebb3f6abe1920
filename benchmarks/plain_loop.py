"""The plain loop: the same agents and prompts, the openai client as its documentation shows it, a transcript in memory.

It omits everything that Tertulia adds; its time is the lower bound of a conversation.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolUnionParam

from benchmarks.plan import ManagerType
from benchmarks.results import BenchmarkFailed
from benchmarks.sample_group import CONTEXT_MESSAGES, GROUP_CONTEXT, MANAGER_AGENT, MEMBERS, OPENING_MESSAGE, SENDER
from tertulia.activities.choose_speaker import CHOOSE_TOOL, FINISH_TOOL
from tertulia.core.agents import Agent
from tertulia.core.context_window import compute_window
from tertulia.core.prompt import ChatMessage, TranscriptMessage, build_manager_prompt, build_member_prompt
from tertulia.devstack.offline_model import TERSE_MODEL

ContextRule = Callable[[int], int]
"""Returns how many of this many messages a prompt leaves out at the front."""


def skip_old_messages(messages: int) -> int:
    """Keep the newest messages that fit, as a first version would."""
    return max(messages - CONTEXT_MESSAGES, 0)


def skip_like_tertulia(messages: int) -> int:
    """Keep exactly the messages that Tertulia's prompts contain."""
    return compute_window(messages, 0, max_messages=CONTEXT_MESSAGES, max_tokens=1).after_seq


@dataclass
class PlainConversation:
    """One conversation in memory."""

    client: AsyncOpenAI
    manager: ManagerType
    context_rule: ContextRule
    transcript: list[TranscriptMessage] = field(
        default_factory=lambda: [TranscriptMessage(sender_id=None, sender=SENDER, text=OPENING_MESSAGE)]
    )
    turn_times: list[float] = field(default_factory=list)
    """The end of each turn, in seconds."""
    prompt_tokens: int = 0

    async def talk(self, turns: int) -> None:
        """Take this many turns."""
        for turn in range(turns):
            speaker = MEMBERS[turn % len(MEMBERS)] if self.manager == "round_robin" else await self._choose_speaker()
            text = await self._speak(speaker)
            self.transcript.append(TranscriptMessage(sender_id=speaker.id, sender=speaker.name, text=text))
            self.turn_times.append(perf_counter())

    async def _speak(self, speaker: Agent) -> str:
        prompt = build_member_prompt(speaker, GROUP_CONTEXT, self._visible_messages(), ())
        completion = await self.client.chat.completions.create(model=TERSE_MODEL, messages=_as_params(prompt))
        self.prompt_tokens += completion.usage.prompt_tokens if completion.usage else 0
        return completion.choices[0].message.content or ""

    async def _choose_speaker(self) -> Agent:
        last = self.transcript[-1].sender_id
        candidates = {member.name: member for member in MEMBERS if member.id != last}
        prompt = build_manager_prompt(MANAGER_AGENT, GROUP_CONTEXT, self._visible_messages(), list(candidates))
        completion = await self.client.chat.completions.create(
            model=TERSE_MODEL, messages=_as_params(prompt), tools=_tools(list(candidates)), tool_choice="required"
        )
        self.prompt_tokens += completion.usage.prompt_tokens if completion.usage else 0
        for call in completion.choices[0].message.tool_calls or ():
            if call.type == "function" and call.function.name == CHOOSE_TOOL:
                return candidates[json.loads(call.function.arguments)["participant"]]
        raise BenchmarkFailed("the manager of the plain loop chose nobody")

    def _visible_messages(self) -> list[TranscriptMessage]:
        return self.transcript[self.context_rule(len(self.transcript)) :]


async def run_conversations(
    client: AsyncOpenAI, manager: ManagerType, context_rule: ContextRule, *, conversations: int, turns: int
) -> list[PlainConversation]:
    """Run this many conversations at once, each of this many turns."""
    talks = [PlainConversation(client, manager, context_rule) for _ in range(conversations)]
    await asyncio.gather(*(talk.talk(turns) for talk in talks))
    return talks


def _as_params(prompt: list[ChatMessage]) -> list[ChatCompletionMessageParam]:
    return cast(list[ChatCompletionMessageParam], prompt)


def _tools(names: list[str]) -> list[ChatCompletionToolUnionParam]:
    reason = {"type": "string", "description": "why, in one short sentence"}
    participant = {"type": "string", "enum": names}
    return [
        _tool(CHOOSE_TOOL, "Give the floor to a participant.", {"participant": participant, "reason": reason}),
        _tool(FINISH_TOOL, "End the round: all that was asked for is done.", {"reason": reason}),
    ]


def _tool(name: str, description: str, properties: dict[str, object]) -> ChatCompletionToolUnionParam:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}
