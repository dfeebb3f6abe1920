"""What a person reads in the Temporal UI: one line for each step, the present state as Markdown, search attributes."""

from collections.abc import Sequence

from temporalio.common import SearchAttributeKey, SearchAttributePair, SearchAttributeUpdate, TypedSearchAttributes

from tertulia.core.errors import brief
from tertulia.core.health import Health
from tertulia.core.roster import Member
from tertulia.core.round_rules import managers_of
from tertulia.core.state import ConversationState
from tertulia.core.status import why_paused

GROUP_ID = SearchAttributeKey.for_keyword("GroupId")
PHASE = SearchAttributeKey.for_keyword("ConversationPhase")
MEMBERS = SearchAttributeKey.for_keyword_list("Members")
STOP_REASON = SearchAttributeKey.for_keyword("StopReason")

SUMMARY_BYTES = 200
"""The longest summary that Temporal takes."""
_DETAILS_TURNS = 8
_DETAILS_CHARS = 160


def summary(*parts: str) -> str:
    """The parts on one line, within Temporal's limit."""
    line = " · ".join(part for part in parts if part)
    encoded = line.encode()
    if len(encoded) <= SUMMARY_BYTES:
        return line
    return encoded[: SUMMARY_BYTES - 3].decode(errors="ignore") + "…"


def search_attributes(state: ConversationState) -> TypedSearchAttributes:
    """What conversations are found by. Changes with rounds and the roster, not with turns."""
    running = state.round is not None and state.phase not in ("paused", "terminating", "closed")
    pairs: list[SearchAttributePair[str] | SearchAttributePair[Sequence[str]]] = [
        SearchAttributePair(GROUP_ID, state.group_id),
        SearchAttributePair(PHASE, "executing" if running else state.phase),
        SearchAttributePair(MEMBERS, [_searched(state, member) for member in state.roster.members]),
    ]
    if state.stop_reason:
        pairs.append(SearchAttributePair(STOP_REASON, state.stop_reason))
    return TypedSearchAttributes(pairs)


def _searched(state: ConversationState, member: Member) -> str:
    return member.agent_id if state.ids_only else member.name


def changed_attributes(
    before: TypedSearchAttributes, after: TypedSearchAttributes
) -> list[SearchAttributeUpdate[str] | SearchAttributeUpdate[Sequence[str]]]:
    """The updates that lead from `before` to `after`."""
    updates: list[SearchAttributeUpdate[str] | SearchAttributeUpdate[Sequence[str]]] = []
    for key in (GROUP_ID, PHASE, STOP_REASON):
        value = after.get(key)
        if value != before.get(key):
            updates.append(key.value_unset() if value is None else key.value_set(value))
    members = list(after.get(MEMBERS) or ())
    if members != list(before.get(MEMBERS) or ()):
        updates.append(MEMBERS.value_set(members))
    return updates


def details(state: ConversationState) -> str:
    """The present state as Markdown: phase, roster, last turns."""
    return "\n".join(
        [*_headline(state), "", *_roster(state), "", *_managers(state), *_turns(state), *_rejections(state)]
    )


def _headline(state: ConversationState) -> list[str]:
    chosen = state.round.chosen if state.round else None
    lines = [f"**{_cell(state.group_name or state.group)}** · {state.phase} · round {state.rounds}"]
    lines[0] += f" · turn {state.floor.turn}"
    if chosen:
        lines.append(f"\n**{_cell(chosen.member.name)}** has the floor: {_cell(chosen.reason)}")
    if (reason := why_paused(state)) is not None:
        lines.append(f"\nPaused: {_cell(reason) or 'by an operator'}")
        if state.outage and state.paused_because is None:
            lines[-1] += f"; a member is tried at {state.outage.next_probe_at:%H:%M:%S} UTC"
    if state.stop_reason:
        lines.append(f"\nThe last round ended: {state.stop_reason} ({_cell(state.stop_explanation or '')})")
    usage = state.usage
    lines.append(f"\n{state.last_seq} messages · {usage.total_tokens} tokens · {usage.model_calls} model calls")
    if state.pending_posts or state.pending_changes:
        waiting = f"{len(state.pending_posts)} messages and {len(state.pending_changes)} changes of members"
        lines.append(f"\nWaiting for the next turn boundary: {waiting}")
    return lines


def _roster(state: ConversationState) -> list[str]:
    lines = [f"Roster (epoch {state.roster.epoch})", "", *_header("member", "state", "turns", "last turn", "health")]
    for member in state.roster.members:
        name = _cell(member.name)
        shown = name if member.standing == "active" else f"~~{name}~~"
        cells = (shown, _standing(state, member), str(member.turns), str(member.last_turn or "–"))
        lines.append(_row(*cells, _cell(_health(member.health))))
    return lines


def _standing(state: ConversationState, member: Member) -> str:
    owner = state.roster.find(member.in_place_of) if member.in_place_of else None
    return f"in place of {_cell(owner.name)}" if owner else member.standing


def _health(health: Health) -> str:
    if health.state == "healthy":
        return "healthy"
    return brief(f"{health.state} since turn {health.since_turn}: {health.reason}", _DETAILS_CHARS)


def _managers(state: ConversationState) -> list[str]:
    managers = managers_of(state)
    if not managers:
        return []
    lines = [*_header("manager", "health")]
    return [*lines, *(_row(_cell(manager.name), _cell(_health(manager.health))) for manager in managers), ""]


def _turns(state: ConversationState) -> list[str]:
    if not state.recent_turns:
        return ["No turn has been taken yet."]
    lines = _header("turn", "speaker", "chosen by", "why", "said")
    for turn in reversed(state.recent_turns[-_DETAILS_TURNS:]):
        said = _cell(brief(turn.said, _DETAILS_CHARS))
        if turn.trouble and turn.outcome in ("spoke", "passed"):
            said += f" *({_cell(brief(turn.trouble, _DETAILS_CHARS))})*"
        speaker = f"**{_cell(turn.speaker)}**"
        lines.append(_row(str(turn.turn), speaker, turn.chosen_by, _cell(turn.reason), said))
    return lines


def _header(*names: str) -> list[str]:
    return [_row(*names), "|" + " --- |" * len(names)]


def _row(*cells: str) -> str:
    # The UI puts no space between columns: no-break spaces keep them apart.
    return "|" + "|".join(f" {cell}\u00a0\u00a0\u00a0" for cell in cells) + "|"


def _rejections(state: ConversationState) -> list[str]:
    if not state.rejected:
        return []
    return ["", "Refused signals", "", *(f"- {one.command}: {_cell(one.reason)}" for one in state.rejected[-5:])]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
