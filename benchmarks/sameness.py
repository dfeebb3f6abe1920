"""How much of each prompt equals the front of the same agent's previous prompt: prompts rebuilt from the transcript."""

import json
from collections.abc import Iterable, Sequence
from itertools import takewhile
from statistics import fmean, median

from benchmarks.company import HOST, MEMBERS, TABLE
from benchmarks.loop import View
from benchmarks.results import BenchmarkFailed, Sameness
from tertulia.core.agents import Agent
from tertulia.core.prompt import ChatMessage, TranscriptMessage, build_manager_prompt, build_member_prompt

_MEMBERS: dict[str, Agent] = {member.id: member for member in MEMBERS}


def members_sameness(transcript: Sequence[TranscriptMessage], view: View) -> Sameness:
    """Of the members' prompts, given the whole transcript, which begins with one message from outside."""
    return _sameness(
        (speaker, _speaker_prompt(transcript, view, turn))
        for turn in range(1, len(transcript))
        if (speaker := transcript[turn].sender_id)
    )


def manager_sameness(transcript: Sequence[TranscriptMessage], view: View) -> Sameness:
    """Of the managing agent's prompts; the tools on offer, which name the candidates, left aside."""
    return _sameness((HOST.id, _manager_prompt(transcript, view, turn)) for turn in range(1, len(transcript)))


def _speaker_prompt(transcript: Sequence[TranscriptMessage], view: View, turn: int) -> list[ChatMessage]:
    speaker = transcript[turn].sender_id
    if speaker is None or speaker not in _MEMBERS:
        raise BenchmarkFailed(f"{speaker!r} is none of the members")
    return build_member_prompt(_MEMBERS[speaker], TABLE, transcript[view(turn) : turn], ())


def _manager_prompt(transcript: Sequence[TranscriptMessage], view: View, turn: int) -> list[ChatMessage]:
    last = transcript[turn - 1].sender_id
    candidates = [member.name for member in MEMBERS if member.id != last]
    return build_manager_prompt(HOST, TABLE, transcript[view(turn) : turn], candidates)


def _sameness(prompts: Iterable[tuple[str, list[ChatMessage]]]) -> Sameness:
    before: dict[str, str] = {}
    shares: list[float] = []
    for who, prompt in prompts:
        text = json.dumps(prompt, ensure_ascii=False)
        if who in before:
            shares.append(_common_front(before[who], text) / len(text))
        before[who] = text
    if not shares:
        raise BenchmarkFailed("too few turns to compare prompts")
    return Sameness(median=median(shares), mean=fmean(shares))


def _common_front(one: str, other: str) -> int:
    """How many characters are the same at the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
