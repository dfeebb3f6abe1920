"""What is read back, laid out for people."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from rich import box
from rich.table import Table
from rich.text import Text

from tertulia.core.records import ConversationRow, FinishedTurn, MemberRow, MembershipChange, Message
from tertulia.core.status import ConversationStatus, ManagerStatus, MemberStatus
from tertulia.starter.cli.live_view import headline, speaker_line
from tertulia.starter.cli.terminal import Colours, console, one_line, print_words

_STATE_STYLES = {"active": "green", "muted": "yellow", "standby": "cyan", "isolated": "red", "removed": "dim"}
_NUMBERS = frozenset({"turn", "turns", "messages", "tokens", "time", "attempt", "epoch", "after turn"})


def print_transcript(messages: Sequence[Message]) -> None:
    """Every message under its number, turn and speaker."""
    out, colours = console(), Colours()
    for message in messages:
        out.print(speaker_line(message, colours), soft_wrap=True)
        print_words(out, message.text)


def print_turns(turns: Sequence[FinishedTurn]) -> None:
    """One line a turn: who, chosen by whom and why, what came of it, tokens, seconds."""
    colours = Colours()
    table = _table("turn", "speaker", "outcome", "chosen by", "why", "tokens", "time", "attempt")
    for turn in turns:
        table.add_row(
            str(turn.turn),
            Text(one_line(turn.speaker), colours.of(turn.speaker)),
            Text(turn.outcome, "" if turn.outcome == "spoke" else "yellow"),
            turn.chosen_by,
            one_line(turn.reason if turn.error is None else f"{turn.reason} ({turn.error})"),
            str(turn.prompt_tokens + turn.completion_tokens),
            f"{(turn.finished_at - turn.started_at).total_seconds():.2f} s",
            str(turn.attempt),
        )
    console().print(table)


def print_status(status: ConversationStatus) -> None:
    """Where a conversation stands."""
    usage, pending = status.usage, status.pending
    speaking = f"{status.speaking}: {status.speaking_because or ''}" if status.speaking else ""
    waiting = f"{pending.messages} messages, {pending.commands} changes of members"
    out = console()
    for label, words in (
        ("conversation", status.conversation_id),
        ("group", f"{status.group} ({status.group_id})"),
        ("phase", status.phase + (f": {status.paused_because}" if status.paused_because else "")),
        ("round", f"{status.round}, turn {status.turn}, {status.messages} messages"),
        ("speaking", speaking),
        ("last speaker", status.last_speaker or ""),
        ("tokens", f"{usage.total_tokens} ({usage.prompt_tokens} in, {usage.completion_tokens} out)"),
        ("model calls", str(usage.model_calls)),
        ("ended because", _because(status)),
        ("waiting", waiting if pending.messages or pending.commands else ""),
        ("members", ", ".join(_member(member) for member in status.roster.members) or "nobody"),
        ("managers", ", ".join(_manager(manager) for manager in status.roster.managers)),
        *(("health", line) for line in _unwell(status)),
        ("next try", f"{status.next_probe_at:%H:%M:%S} UTC" if status.next_probe_at else ""),
        *(("refused", f"{refusal.command}: {refusal.reason}") for refusal in status.rejected),
    ):
        if words:
            out.print(Text.assemble((f"{label:<14}", "dim"), one_line(words)), soft_wrap=True)


def _because(status: ConversationStatus) -> str:
    if not status.stop_reason:
        return ""
    return status.stop_reason + (f" ({status.stop_explanation})" if status.stop_explanation else "")


def _member(member: MemberStatus) -> str:
    if member.in_place_of:
        return f"{member.name} (in place of {member.in_place_of})"
    return member.name if member.state == "active" else f"{member.name} ({member.state})"


def _manager(manager: ManagerStatus) -> str:
    return manager.name if manager.health.state == "healthy" else f"{manager.name} ({manager.health.state})"


def _unwell(status: ConversationStatus) -> Iterator[str]:
    everyone: tuple[MemberStatus | ManagerStatus, ...] = (*status.roster.members, *status.roster.managers)
    for one in everyone:
        health = one.health
        if health.state != "healthy":
            yield f"{one.name} is {health.state} since turn {health.since_turn}: {health.reason}"


def print_conversations(rows: Sequence[ConversationRow]) -> None:
    """One line a conversation, newest first."""
    table = _table("conversation", "group", "phase", "turns", "messages", "begun", "ended because")
    for row in rows:
        numbers = str(row.last_turn), str(row.last_seq)
        group, reason = one_line(row.group), row.stop_reason or ""
        table.add_row(row.conversation_id, group, row.phase, *numbers, _ago(row.created_at), reason)
    console().print(table)


def members_table(members: Sequence[MemberRow]) -> None:
    """Who is here in order, then who was."""
    table = _table("member", "state", "has read up to", "agent")
    for member in members:
        state = Text(member.state, _STATE_STYLES[member.state])
        table.add_row(one_line(member.name), state, f"#{member.cursor}", member.agent_id)
    console().print(table)


def print_changes(changes: Sequence[MembershipChange], names: Mapping[str, str]) -> None:
    """The audit, oldest first."""
    if not changes:
        return
    table = _table("epoch", "change", "after turn", "when", "command")
    for change in changes:
        words = one_line(headline(change, names))
        after = str(change.after_turn)
        table.add_row(str(change.epoch), words, after, _ago(change.created_at), one_line(change.command_id))
    console().print(table)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in _NUMBERS else "left")
    return table


def _ago(moment: datetime) -> str:
    seconds = max(int((datetime.now(UTC) - moment).total_seconds()), 0)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
