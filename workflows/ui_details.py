"""Texts for the Temporal UI: the current state as Markdown, and search attributes."""

from collections.abc import Sequence

from temporalio.common import SearchAttributePair, SearchAttributeUpdate, TypedSearchAttributes

from tertulia.core.errors import truncate
from tertulia.core.health import Health
from tertulia.core.roster import Member
from tertulia.core.round_rules import ordered_managers
from tertulia.core.state import ConversationState
from tertulia.core.status import pause_reason
from tertulia.temporal.search_attributes import GROUP_ID, MEMBERS, PHASE, STOP_REASON

_MAX_DETAILS_TURNS = 8
_MAX_DETAILS_CHARS = 160


def build_search_attributes(state: ConversationState) -> TypedSearchAttributes:
    """Return the search attributes of a conversation. They change with rounds and the roster, not with turns."""
    running = state.round is not None and state.phase not in ("paused", "terminating", "closed")
    pairs: list[SearchAttributePair[str] | SearchAttributePair[Sequence[str]]] = [
        SearchAttributePair(GROUP_ID, state.group_id),
        SearchAttributePair(PHASE, "executing" if running else state.phase),
        SearchAttributePair(MEMBERS, [_member_value(state, member) for member in state.roster.members]),
    ]
    if state.stop_reason:
        pairs.append(SearchAttributePair(STOP_REASON, state.stop_reason))
    return TypedSearchAttributes(pairs)


def _member_value(state: ConversationState, member: Member) -> str:
    return member.agent_id if state.ids_only else member.name


def diff_search_attributes(
    before: TypedSearchAttributes, after: TypedSearchAttributes
) -> list[SearchAttributeUpdate[str] | SearchAttributeUpdate[Sequence[str]]]:
    """Return the updates that lead from `before` to `after`."""
    updates: list[SearchAttributeUpdate[str] | SearchAttributeUpdate[Sequence[str]]] = []
    for key in (GROUP_ID, PHASE, STOP_REASON):
        value = after.get(key)
        if value != before.get(key):
            updates.append(key.value_unset() if value is None else key.value_set(value))
    members = list(after.get(MEMBERS) or ())
    if members != list(before.get(MEMBERS) or ()):
        updates.append(MEMBERS.value_set(members))
    return updates


def render_details(state: ConversationState) -> str:
    """Return the current state as Markdown: phase, roster, last turns."""
    return "\n".join(
        [
            *_headline_lines(state),
            "",
            *_roster_lines(state),
            "",
            *_manager_lines(state),
            *_turn_lines(state),
            *_rejection_lines(state),
        ]
    )


def _headline_lines(state: ConversationState) -> list[str]:
    chosen = state.round.chosen if state.round else None
    lines = [f"**{_escape_cell(state.group_name or state.group)}** · {state.phase} · round {state.rounds}"]
    lines[0] += f" · turn {state.floor.turn}"
    if chosen:
        lines.append(f"\nSpeaking: **{_escape_cell(chosen.member.name)}**, because {_escape_cell(chosen.reason)}")
    if (reason := pause_reason(state)) is not None:
        lines.append(f"\nPaused: {_escape_cell(reason) or 'by an operator'}")
        if state.outage and state.paused_because is None:
            lines[-1] += f"; the next member is tried at {state.outage.next_probe_at:%H:%M:%S} UTC"
    if state.stop_reason:
        lines.append(f"\nThe last round ended: {state.stop_reason} ({_escape_cell(state.stop_explanation or '')})")
    usage = state.usage
    lines.append(f"\n{state.last_seq} messages · {usage.total_tokens} tokens · {usage.model_calls} model calls")
    if state.pending_posts or state.pending_changes:
        pending = f"{len(state.pending_posts)} messages and {len(state.pending_changes)} changes of members"
        lines.append(f"\nPending until the next turn boundary: {pending}")
    return lines


def _roster_lines(state: ConversationState) -> list[str]:
    lines = [
        f"Roster (epoch {state.roster.epoch})",
        "",
        *_table_header("member", "state", "turns", "last turn", "health"),
    ]
    for member in state.roster.members:
        name = _escape_cell(member.name)
        label = name if member.effective_state == "active" else f"~~{name}~~"
        cells = (label, _format_state(state, member), str(member.turns), str(member.last_turn or "–"))
        lines.append(_table_row(*cells, _escape_cell(_format_health(member.health))))
    return lines


def _format_state(state: ConversationState, member: Member) -> str:
    owner = state.roster.find(member.in_place_of) if member.in_place_of else None
    return f"in place of {_escape_cell(owner.name)}" if owner else member.effective_state


def _format_health(health: Health) -> str:
    if health.state == "healthy":
        return "healthy"
    return truncate(f"{health.state} since turn {health.since_turn}: {health.reason}", _MAX_DETAILS_CHARS)


def _manager_lines(state: ConversationState) -> list[str]:
    managers = ordered_managers(state)
    if not managers:
        return []
    lines = [*_table_header("manager", "health")]
    return [
        *lines,
        *(_table_row(_escape_cell(manager.name), _escape_cell(_format_health(manager.health))) for manager in managers),
        "",
    ]


def _turn_lines(state: ConversationState) -> list[str]:
    if not state.recent_turns:
        return ["No turn yet."]
    lines = _table_header("turn", "speaker", "chosen by", "reason", "message")
    for turn in reversed(state.recent_turns[-_MAX_DETAILS_TURNS:]):
        message = _escape_cell(truncate(turn.text_preview, _MAX_DETAILS_CHARS))
        if turn.error and turn.outcome in ("spoke", "passed"):
            message += f" *({_escape_cell(truncate(turn.error, _MAX_DETAILS_CHARS))})*"
        speaker = f"**{_escape_cell(turn.speaker)}**"
        lines.append(_table_row(str(turn.turn), speaker, turn.chosen_by, _escape_cell(turn.reason), message))
    return lines


def _table_header(*names: str) -> list[str]:
    return [_table_row(*names), "|" + " --- |" * len(names)]


def _table_row(*cells: str) -> str:
    # The UI renders no space between columns; no-break spaces separate them.
    return "|" + "|".join(f" {cell}\u00a0\u00a0\u00a0" for cell in cells) + "|"


def _rejection_lines(state: ConversationState) -> list[str]:
    if not state.rejected:
        return []
    return [
        "",
        "Refused signals",
        "",
        *(f"- {signal.command}: {_escape_cell(signal.reason)}" for signal in state.rejected[-5:]),
    ]


def _escape_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
