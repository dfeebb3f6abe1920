"""Parse a request as a conversation: speakers, messages from outside, notices."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from tertulia.devstack.offline_model.protocol import ChatRequest, Message
from tertulia.devstack.offline_model.system_prompt import SystemPrompt, find_name_in_turn_notice, parse_system_prompt

Origin = Literal["outside", "member", "self"]

_OUTSIDERS = frozenset({"", "user", "human", "operator", "guest", "visitor", "customer", "client", "caller"})
_NOTICE = re.compile(
    r"\b(?:your turn|who (?:should |shall )?speaks?|next (?:speaker|participant)|choose|joined|left|is not a candidate"
    r"|call (?:one of )?the (?:tool|function)|choose_next_participant|take(?:s)? part|muted)\b",
    re.IGNORECASE,
)
_NAME_CHARS = re.compile(r"[^\W_][\w .,'’()-]{0,63}")


class Utterance(NamedTuple):
    """A message of one speaker; the speaker is empty when the request does not contain it."""

    speaker: str
    text: str
    origin: Origin


@dataclass(frozen=True)
class Conversation:
    """A parsed request."""

    system_prompt: SystemPrompt
    own_name: str
    """The name of the agent that answers, or empty."""
    utterances: tuple[Utterance, ...]
    notices: tuple[str, ...] = ()

    @property
    def last(self) -> Utterance | None:
        return self.utterances[-1] if self.utterances else None

    @cached_property
    def messages_since_outside(self) -> int:
        """Number of members' messages, its own included, since the last message from outside."""
        for count, utterance in enumerate(reversed(self.utterances)):
            if utterance.origin == "outside":
                return count
        return len(self.utterances)

    @cached_property
    def subject(self) -> str:
        """The message that sets the topic: the first from outside; empty if it is not in the request."""
        return next((spoken.text for spoken in self.utterances if spoken.origin == "outside"), "")

    @cached_property
    def full_text(self) -> str:
        return "\n".join(utterance.text for utterance in self.utterances)

    @cached_property
    def last_positions(self) -> dict[str, int]:
        """Index of each speaker's last message, by folded name."""
        return {spoken.speaker.casefold(): position for position, spoken in enumerate(self.utterances)}

    @cached_property
    def others(self) -> tuple[str, ...]:
        """The other members: the roster or, without one, the speakers so far."""
        heard = dict.fromkeys(spoken.speaker for spoken in self.utterances if spoken.origin == "member")
        own_folded = self.own_name.casefold()
        return tuple(name for name in (self.system_prompt.roster or heard) if name.casefold() != own_folded)


def parse_conversation(request: ChatRequest, candidates: tuple[str, ...] = ()) -> Conversation:
    """Read a request; `candidates` are further names that are known to be members' names."""
    prompt, messages = _split_prompt(request.messages)
    system_prompt = parse_system_prompt(prompt)
    members = {name.casefold() for name in (*system_prompt.roster, *candidates)}
    spoken: list[tuple[str, str, bool]] = []
    notices: list[str] = []
    for message in messages:
        if message.role == "system" or message.role == "developer":
            notices.append(message.text)
        elif message.role == "assistant":
            spoken.append(("", message.text, True))
        elif message.role == "user":
            _parse_user_message(message, members, spoken, notices)
    own_name = (
        next(filter(None, map(find_name_in_turn_notice, reversed(notices))), None) or system_prompt.own_name or ""
    )
    return Conversation(system_prompt, own_name, _assign_origins(spoken, own_name, members), tuple(notices))


def _split_prompt(messages: list[Message]) -> tuple[str, list[Message]]:
    count = 0
    while count < len(messages) and messages[count].role in ("system", "developer"):
        count += 1
    prompt = messages[0].text if count == 1 else "\n".join(message.text for message in messages[:count])
    return prompt, messages[count:]


def _parse_user_message(
    message: Message, members: set[str], spoken: list[tuple[str, str, bool]], notices: list[str]
) -> None:
    text = message.text
    speaker, words = split_speaker(text, members)
    if speaker or message.name:
        spoken.append((speaker or message.name or "", words, False))
    elif _NOTICE.search(text) and (spoken or members):
        notices.append(text)
    elif len(lines := _parse_transcript_lines(text, members)) > 1:
        spoken.extend((name, line, False) for name, line in lines)
    else:
        spoken.append(("", text, False))


def split_speaker(text: str, members: set[str]) -> tuple[str, str]:
    """Split the name off the front of `"Name: text"`; without a name, the speaker is empty."""
    end = text.find(":", 1, 65)
    if end < 0 or text[end + 1 : end + 2] not in (" ", "\n"):
        return "", text
    name = text[:end]
    if name.casefold() in members or (_NAME_CHARS.fullmatch(name) and _is_name(name)):
        return name, text[end + 1 :].strip()
    return "", text


def _is_name(name: str) -> bool:
    words = name.split(" ")
    return len(words) <= 4 and words[0][:1].isupper() and words[-1][:1] == words[-1][:1].upper()


def _parse_transcript_lines(text: str, members: set[str]) -> list[tuple[str, str]]:
    """Parse the lines of a transcript that was sent as one message."""
    lines = (split_speaker(line, members) for line in text.splitlines())
    return [(name, words) for name, words in lines if name]


def _assign_origins(spoken: list[tuple[str, str, bool]], own_name: str, members: set[str]) -> tuple[Utterance, ...]:
    """Tell senders from outside and members apart. An unlisted speaker who did not start the conversation is a former
    member.
    """
    own_folded = own_name.casefold()
    starter = spoken[0][0].casefold() if spoken and not spoken[0][2] else ""
    utterances: list[Utterance] = []
    for speaker, text, is_own in spoken:
        folded = speaker.casefold()
        origin: Origin = "member"
        if is_own or (folded and folded == own_folded):
            origin, speaker = "self", own_name
        elif folded not in members and (folded in _OUTSIDERS or folded == starter):
            origin = "outside"
        utterances.append(Utterance(speaker, text, origin))
    return tuple(utterance for utterance in utterances if utterance.text)
