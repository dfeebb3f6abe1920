"""The share of each prompt that equals the front of the same agent's previous prompt; prompts are rebuilt from the
transcript.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import takewhile
from statistics import fmean, median

from benchmarks.plain_loop import ContextRule
from benchmarks.results import BenchmarkFailed, PromptOverlap
from benchmarks.sample_group import GROUP_CONTEXT, MANAGER_AGENT, MEMBERS
from tertulia.core.agents import Agent
from tertulia.core.prompt import ChatMessage, TranscriptMessage, build_manager_prompt, build_member_prompt

_MEMBERS: dict[str, Agent] = {member.id: member for member in MEMBERS}


def measure_member_overlap(transcript: Sequence[TranscriptMessage], context_rule: ContextRule) -> PromptOverlap:
    """Return the overlap of the members' prompts, given the whole transcript, which starts with one message from
    outside.
    """
    return _measure_overlap(
        (speaker, _speaker_prompt(transcript, context_rule, turn))
        for turn in range(1, len(transcript))
        if (speaker := transcript[turn].sender_id)
    )


def measure_manager_overlap(transcript: Sequence[TranscriptMessage], context_rule: ContextRule) -> PromptOverlap:
    """Return the overlap of the managing agent's prompts, without the offered tools, which name the candidates."""
    return _measure_overlap(
        (MANAGER_AGENT.id, _manager_prompt(transcript, context_rule, turn)) for turn in range(1, len(transcript))
    )


def _speaker_prompt(transcript: Sequence[TranscriptMessage], context_rule: ContextRule, turn: int) -> list[ChatMessage]:
    speaker = transcript[turn].sender_id
    if speaker is None or speaker not in _MEMBERS:
        raise BenchmarkFailed(f"{speaker!r} is none of the members")
    return build_member_prompt(_MEMBERS[speaker], GROUP_CONTEXT, transcript[context_rule(turn) : turn], ())


def _manager_prompt(transcript: Sequence[TranscriptMessage], context_rule: ContextRule, turn: int) -> list[ChatMessage]:
    last = transcript[turn - 1].sender_id
    candidates = [member.name for member in MEMBERS if member.id != last]
    return build_manager_prompt(MANAGER_AGENT, GROUP_CONTEXT, transcript[context_rule(turn) : turn], candidates)


def _measure_overlap(prompts: Iterable[tuple[str, list[ChatMessage]]]) -> PromptOverlap:
    before: dict[str, str] = {}
    shares: list[float] = []
    for who, prompt in prompts:
        text = json.dumps(prompt, ensure_ascii=False)
        if who in before:
            shares.append(_common_prefix_length(before[who], text) / len(text))
        before[who] = text
    if not shares:
        raise BenchmarkFailed("too few turns to compare prompts")
    return PromptOverlap(median=median(shares), mean=fmean(shares))


def _common_prefix_length(one: str, other: str) -> int:
    """Return the length of the common prefix, in characters."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
