"""Prompts: the persona, the members, the rules, then the transcript as the agent sees it.

Invariant: while persona, roster and start of the context window stay the same, an agent's next prompt differs from its
last one only at the end, so that providers can cache the front.
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
    """Message of a chat completion request."""

    role: Literal["system", "user", "assistant"]
    content: str
    name: NotRequired[str]


class TranscriptMessage(Record):
    """Message of the transcript, with the fields that prompts use."""

    sender_id: str | None
    """Id of the agent that spoke; None for a posted message."""
    sender: str
    text: str


class MemberProfile(Record):
    """A member as prompts describe it."""

    name: str
    description: str = ""
    tags: tuple[str, ...] = ()
    """Tags of the agent; only the manager's prompt lists them."""


class GroupContext(Record):
    """The group as prompts describe it."""

    group_name: str
    description: str
    members: tuple[MemberProfile, ...]
    """Present members in roster order."""
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
    """Build the request messages for a turn of `agent`.

    Args:
        agent: the speaker.
        group_context: the group and its members.
        transcript: the messages in the context window, oldest first.
        termination_tokens: texts that end the round; the rules mention them.
        conclude: reason of a concluding turn; the last message then asks for a summary. Empty = an ordinary turn.
    """
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
    # The request is the last message, not part of the system message, so that the front of the prompt stays the same.
    question = f"It is your turn, {agent.name}."
    if conclude:
        question += f" It is the last one ({conclude}): sum up what was found, in your own words. Nobody answers."
    turn = ChatMessage(role="user", content=question)
    return [
        ChatMessage(role="system", content=system),
        *(_to_chat_message(message, agent.id) for message in transcript),
        turn,
    ]


def build_manager_prompt(
    agent: Agent, group_context: GroupContext, transcript: Sequence[TranscriptMessage], candidates: Sequence[str]
) -> list[ChatMessage]:
    """Build the request messages with which the managing `agent` chooses a speaker.

    Args:
        agent: the manager.
        group_context: the group and its members, with the descriptions and tags that the choice is based on.
        transcript: the messages in the context window, oldest first.
        candidates: names of the members that can be chosen.
    """
    system = _join_sections(
        agent.instructions or f"You are {agent.name}.",
        _group_section(agent.name, group_context, with_tags=True),
        *_memory_sections((*group_context.shared_memory, *agent.memory)),
        "You lead this conversation and do not speak in it. When you are asked, choose who speaks next, by whom the "
        "conversation needs now, with a short reason; or finish, when everything the group was asked for is done.",
    )
    question = f"Who speaks next? You can choose: {', '.join(candidates)}."
    return [
        ChatMessage(role="system", content=system),
        *(_to_chat_message(message, None) for message in transcript),
        ChatMessage(role="user", content=question),
    ]


def _group_section(name: str, group_context: GroupContext, *, with_tags: bool = False) -> str:
    lines = [f"You are {name} in the group {group_context.group_name!r}."]
    if group_context.description:
        lines.append(group_context.description)
    lines.append("Here now:")
    lines += [_member_line(member, with_tags=with_tags) for member in group_context.members]
    return "\n".join(lines)


def _member_line(member: MemberProfile, *, with_tags: bool) -> str:
    tags = f"tags: {', '.join(member.tags)}" if with_tags and member.tags else ""
    about = "; ".join(part for part in (member.description, tags) if part)
    return f"- {member.name}: {about}" if about else f"- {member.name}"


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
