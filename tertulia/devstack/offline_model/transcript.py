"""Reading a request as a conversation: who said what, who came from outside, and what was only a notice."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from tertulia.devstack.offline_model.protocol import ChatRequest, Message
from tertulia.devstack.offline_model.system_prompt import Brief, name_in_turn_notice, read_brief

Origin = Literal["outside", "member", "self"]

_OUTSIDERS = frozenset({"", "user", "human", "operator", "guest", "visitor", "customer", "client", "caller"})
_NOTICE = re.compile(
    r"\b(?:your turn|who (?:should |shall )?speaks?|next (?:speaker|participant)|choose|joined|left|is not a candidate"
    r"|call (?:one of )?the (?:tool|function)|choose_next_participant|take(?:s)? part|muted)\b",
    re.IGNORECASE,
)
_NAME_CHARS = re.compile(r"[^\W_][\w .,'’()-]{0,63}")


class Utterance(NamedTuple):
    """What one speaker said; the speaker is empty when the request does not say who it was."""

    speaker: str
    text: str
    origin: Origin


@dataclass(frozen=True)
class Conversation:
    """A request, read."""

    brief: Brief
    me: str
    """The name of the agent that is to answer, or empty."""
    utterances: tuple[Utterance, ...]
    notices: tuple[str, ...] = ()

    @property
    def last(self) -> Utterance | None:
        return self.utterances[-1] if self.utterances else None

    @cached_property
    def since_outside(self) -> int:
        """How many messages of members, its own included, follow the last words from outside."""
        for count, utterance in enumerate(reversed(self.utterances)):
            if utterance.origin == "outside":
                return count
        return len(self.utterances)

    @cached_property
    def subject(self) -> str:
        """The words that set the subject: the first from outside; empty when they are out of sight."""
        return next((said.text for said in self.utterances if said.origin == "outside"), "")

    @cached_property
    def all_said(self) -> str:
        return "\n".join(utterance.text for utterance in self.utterances)

    @cached_property
    def last_heard(self) -> dict[str, int]:
        """By folded name: the position of the last thing each has said."""
        return {said.speaker.casefold(): position for position, said in enumerate(self.utterances)}

    @cached_property
    def others(self) -> tuple[str, ...]:
        """Who else is here: the roster, or those who have been heard when there is none."""
        heard = dict.fromkeys(said.speaker for said in self.utterances if said.origin == "member")
        mine = self.me.casefold()
        return tuple(name for name in (self.brief.roster or heard) if name.casefold() != mine)


def read_conversation(request: ChatRequest, candidates: tuple[str, ...] = ()) -> Conversation:
    """Read a request; `candidates` are further names that are known to be members' names."""
    prompt, messages = _split_prompt(request.messages)
    brief = read_brief(prompt)
    members = {name.casefold() for name in (*brief.roster, *candidates)}
    said: list[tuple[str, str, bool]] = []
    notices: list[str] = []
    for message in messages:
        if message.role == "system" or message.role == "developer":
            notices.append(message.text)
        elif message.role == "assistant":
            said.append(("", message.text, True))
        elif message.role == "user":
            _read_user(message, members, said, notices)
    me = next(filter(None, map(name_in_turn_notice, reversed(notices))), None) or brief.me or ""
    return Conversation(brief, me, _with_origins(said, me, members), tuple(notices))


def _split_prompt(messages: list[Message]) -> tuple[str, list[Message]]:
    count = 0
    while count < len(messages) and messages[count].role in ("system", "developer"):
        count += 1
    prompt = messages[0].text if count == 1 else "\n".join(message.text for message in messages[:count])
    return prompt, messages[count:]


def _read_user(message: Message, members: set[str], said: list[tuple[str, str, bool]], notices: list[str]) -> None:
    text = message.text
    speaker, words = split_speaker(text, members)
    if speaker or message.name:
        said.append((speaker or message.name or "", words, False))
    elif _NOTICE.search(text) and (said or members):
        notices.append(text)
    elif len(lines := _spoken_lines(text, members)) > 1:
        said.extend((name, line, False) for name, line in lines)
    else:
        said.append(("", text, False))


def split_speaker(text: str, members: set[str]) -> tuple[str, str]:
    """Take the name off the front of `"Name: words"`; without a name, the speaker is empty."""
    end = text.find(":", 1, 65)
    if end < 0 or text[end + 1 : end + 2] not in (" ", "\n"):
        return "", text
    name = text[:end]
    if name.casefold() in members or (_NAME_CHARS.fullmatch(name) and _is_title(name)):
        return name, text[end + 1 :].strip()
    return "", text


def _is_title(name: str) -> bool:
    words = name.split(" ")
    return len(words) <= 4 and words[0][:1].isupper() and words[-1][:1] == words[-1][:1].upper()


def _spoken_lines(text: str, members: set[str]) -> list[tuple[str, str]]:
    """The lines of a transcript that was handed over in one message."""
    lines = (split_speaker(line, members) for line in text.splitlines())
    return [(name, words) for name, words in lines if name]


def _with_origins(said: list[tuple[str, str, bool]], me: str, members: set[str]) -> tuple[Utterance, ...]:
    """Tell outsiders from members. Someone unlisted who did not begin the talk is taken for a member that has left."""
    mine = me.casefold()
    starter = said[0][0].casefold() if said and not said[0][2] else ""
    utterances: list[Utterance] = []
    for speaker, text, own in said:
        folded = speaker.casefold()
        origin: Origin = "member"
        if own or (folded and folded == mine):
            origin, speaker = "self", me
        elif folded not in members and (folded in _OUTSIDERS or folded == starter):
            origin = "outside"
        utterances.append(Utterance(speaker, text, origin))
    return tuple(utterance for utterance in utterances if utterance.text)
