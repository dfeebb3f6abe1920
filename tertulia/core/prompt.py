"""What a model is told: the persona, who is here, the rules, then the conversation as this member sees it.

Law: the front of a prompt does not change from one call of an agent to its next while its persona, the roster and the
window's beginning stay; only the end grows.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NotRequired, TypedDict

from tertulia.core.agents import Agent
from tertulia.core.base import Record
from tertulia.core.blocks import MemoryBlock
from tertulia.core.ids import AgentId
from tertulia.core.text import PASS_ANSWER


class ChatMessage(TypedDict):
    """One message of a chat completion request."""

    role: Literal["system", "user", "assistant"]
    content: str
    name: NotRequired[str]


class TranscriptMessage(Record):
    """One message of the transcript, as a prompt needs it."""

    sender_id: str | None
    """The agent that spoke; None for someone outside."""
    sender: str
    text: str


class GroupContext(Record):
    """Who sits at the table: what every member is told about the others and the group."""

    group_name: str
    description: str
    members: tuple[tuple[str, str], ...]
    """Name and description of each member, in order."""
    shared_memory: tuple[MemoryBlock, ...] = ()


_API_NAME = re.compile(r"^[A-Za-z0-9_-]{1,64}$")


def build_member_prompt(
    agent: Agent,
    group_context: GroupContext,
    transcript: Sequence[TranscriptMessage],
    termination_tokens: Iterable[str],
    *,
    conclude: str = "",
) -> list[ChatMessage]:
    """The messages of the request that lets `agent` take its turn; with `conclude`, the last one, to sum up."""
    rules = [
        "Speak as yourself, in your own words, and only for yourself. Do not begin with your own name.",
        "The others' words are given to you with their name and a colon before them.",
        f"If you have nothing to add, answer with the single word {PASS_ANSWER}.",
        *(f"When everything the group was asked for is done, say {token}" for token in termination_tokens),
    ]
    system = _join_sections(
        agent.instructions or f"You are {agent.name}.",
        _group_section(agent.name, group_context),
        *_memory_sections((*group_context.shared_memory, *agent.memory)),
        "Rules of this group:\n" + "\n".join(f"- {rule}" for rule in rules),
    )
    question = f"It is your turn, {agent.name}."
    if conclude:
        question += f" It is the last one ({conclude}): sum up what was found, in your own words. Nobody answers."
    turn = ChatMessage(role="user", content=question)
    return [ChatMessage(role="system", content=system), *(_to_chat_message(one, agent.id) for one in transcript), turn]


def build_manager_prompt(
    agent: Agent, group_context: GroupContext, transcript: Sequence[TranscriptMessage], candidates: Sequence[str]
) -> list[ChatMessage]:
    """The messages of the request that lets the managing `agent` choose among `candidates`, given by name."""
    system = _join_sections(
        agent.instructions or f"You are {agent.name}.",
        _group_section(agent.name, group_context),
        *_memory_sections((*group_context.shared_memory, *agent.memory)),
        "You lead this conversation and do not speak in it. When you are asked, choose who speaks next, by whom the "
        "conversation needs now, with a short reason; or finish, when everything the group was asked for is done.",
    )
    question = f"Who speaks next? You can choose: {', '.join(candidates)}."
    return [
        ChatMessage(role="system", content=system),
        *(_to_chat_message(one, None) for one in transcript),
        ChatMessage(role="user", content=question),
    ]


def _group_section(name: str, group_context: GroupContext) -> str:
    lines = [f"You are {name} in the group {group_context.group_name!r}."]
    if group_context.description:
        lines.append(group_context.description)
    lines.append("Here now:")
    lines += [
        f"- {member}: {description}" if description else f"- {member}" for member, description in group_context.members
    ]
    return "\n".join(lines)


def _memory_sections(blocks: Sequence[MemoryBlock]) -> list[str]:
    return [f"{block.label}:\n{block.value}" for block in blocks if block.value]


def _join_sections(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _to_chat_message(entry: TranscriptMessage, reader: AgentId | None) -> ChatMessage:
    if reader is not None and entry.sender_id == reader:
        return ChatMessage(role="assistant", content=entry.text)
    message = ChatMessage(role="user", content=f"{entry.sender}: {entry.text}")
    if _API_NAME.match(entry.sender):
        message["name"] = entry.sender
    return message
