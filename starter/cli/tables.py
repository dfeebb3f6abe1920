"""Print what was read, laid out for people."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from rich import box
from rich.table import Table
from rich.text import Text

from tertulia.core.agents import StoredAgent
from tertulia.core.blocks import Block
from tertulia.core.commands import Receipt
from tertulia.core.group import StoredGroup
from tertulia.core.records import ConversationRow, FinishedTurn, MemberRow, MembershipChange, Message
from tertulia.core.status import ConversationStatus, ManagerStatus, MemberStatus
from tertulia.starter.cli.live_view import describe_change, format_message_header
from tertulia.starter.cli.terminal import SpeakerColours, console, format_time, one_line, print_json, print_text

_STATE_STYLES = {"active": "green", "muted": "yellow", "standby": "cyan", "isolated": "red", "removed": "dim"}
_NUMERIC_COLUMNS = frozenset(
    {"turn", "turns", "messages", "tokens", "calls", "time", "attempt", "epoch", "after turn", "members", "chars"}
)
_ID_COLUMNS = frozenset({"conversation", "id", "agent"})
"""Columns that are never broken over lines or cut, so that they can be copied; other columns shrink."""


def print_receipts(receipts: Sequence[Receipt], *, as_json: bool) -> None:
    """Print the receipts of one invocation: a line each; in JSON one object, or a list of several."""
    if as_json:
        dumped = [receipt.model_dump(mode="json") for receipt in receipts]
        print_json(dumped[0] if len(dumped) == 1 else dumped)
        return
    for receipt in receipts:
        console().print(f"{receipt.command}: {one_line(receipt.detail)}", soft_wrap=True)


def print_transcript(messages: Sequence[Message], *, times: bool = False) -> None:
    """Print every message under its sender, number and turn."""
    out, speaker_colours = console(), SpeakerColours()
    for message in messages:
        out.print(format_message_header(message, speaker_colours, times=times), soft_wrap=True)
        print_text(out, message.text)


def print_turns(turns: Sequence[FinishedTurn], *, times: bool = False) -> None:
    """Print one line per turn: speaker, outcome, selection, tokens, seconds."""
    speaker_colours = SpeakerColours()
    started = ("started",) if times else ()
    table = _new_table("turn", *started, "speaker", "outcome", "chosen by", "why", "tokens", "time", "attempt")
    for turn in turns:
        table.add_row(
            str(turn.turn),
            *((format_time(turn.started_at),) if times else ()),
            Text(one_line(turn.speaker), speaker_colours.style_for(turn.speaker)),
            Text(turn.outcome, "" if turn.outcome == "spoke" else "yellow"),
            turn.chosen_by,
            one_line(turn.reason if turn.error is None else f"{turn.reason} ({turn.error})"),
            str(turn.prompt_tokens + turn.completion_tokens),
            f"{(turn.finished_at - turn.started_at).total_seconds():.2f} s",
            str(turn.attempt),
        )
    console().print(table)


def print_status(status: ConversationStatus) -> None:
    """Print a status, one labelled line per aspect."""
    usage, pending = status.usage, status.pending
    speaking = f"{status.speaking}: {status.speaking_because or ''}" if status.speaking else ""
    waiting = f"{pending.messages} messages, {pending.commands} changes of members"
    _print_labelled(
        ("conversation", status.conversation_id),
        ("group", f"{status.group} ({status.group_id})"),
        ("phase", status.phase + (f": {status.paused_because}" if status.paused_because else "")),
        ("round", f"{status.round}, turn {status.turn}, {status.messages} messages"),
        ("speaking", speaking),
        ("last speaker", status.last_speaker or ""),
        ("tokens", f"{usage.total_tokens} ({usage.prompt_tokens} in, {usage.completion_tokens} out)"),
        ("model calls", str(usage.model_calls)),
        ("ended because", _format_stop_reason(status)),
        ("waiting", waiting if pending.messages or pending.commands else ""),
        ("members", ", ".join(_format_member(member) for member in status.roster.members) or "nobody"),
        ("managers", ", ".join(_format_manager(manager) for manager in status.roster.managers)),
        *(("health", line) for line in _health_lines(status)),
        ("next try", f"{status.next_probe_at:%H:%M:%S} UTC" if status.next_probe_at else ""),
        *(("refused", f"{refusal.command}: {refusal.reason}") for refusal in status.rejected),
    )


def _print_labelled(*lines: tuple[str, str]) -> None:
    out = console()
    for label, text in lines:
        if text:
            out.print(Text.assemble((f"{label:<14}", "dim"), one_line(text)), soft_wrap=True)


def _format_stop_reason(status: ConversationStatus) -> str:
    if not status.stop_reason:
        return ""
    return status.stop_reason + (f" ({status.stop_explanation})" if status.stop_explanation else "")


def _format_member(member: MemberStatus) -> str:
    if member.in_place_of:
        return f"{member.name} (in place of {member.in_place_of})"
    return member.name if member.state == "active" else f"{member.name} ({member.state})"


def _format_manager(manager: ManagerStatus) -> str:
    return manager.name if manager.health.state == "healthy" else f"{manager.name} ({manager.health.state})"


def _health_lines(status: ConversationStatus) -> Iterator[str]:
    everyone: tuple[MemberStatus | ManagerStatus, ...] = (*status.roster.members, *status.roster.managers)
    for one in everyone:
        health = one.health
        if health.state != "healthy":
            yield f"{one.name} is {health.state} since turn {health.since_turn}: {health.reason}"


def print_conversations(rows: Sequence[ConversationRow], *, times: bool = False) -> None:
    """Print one line per conversation."""
    table = _new_table("conversation", "group", "phase", "turns", "messages", "started", "ended because")
    format_when = _choose_time_format(times=times)
    for row in rows:
        numbers = str(row.last_turn), str(row.last_seq)
        table.add_row(
            row.conversation_id,
            one_line(row.group),
            row.phase,
            *numbers,
            format_when(row.created_at),
            row.stop_reason or "",
        )
    console().print(table)


def print_members(members: Sequence[MemberRow]) -> None:
    """Print present members in speaking order, then former ones, with their usage."""
    table = _new_table("member", "state", "turns", "tokens", "calls", "read up to", "agent")
    for member in members:
        table.add_row(
            one_line(member.name),
            Text(member.state, _STATE_STYLES[member.state]),
            str(member.turns),
            str(member.prompt_tokens + member.completion_tokens),
            str(member.model_calls),
            f"#{member.cursor}",
            member.agent_id,
        )
    console().print(table)


def print_changes(changes: Sequence[MembershipChange], names: Mapping[str, str], *, times: bool = False) -> None:
    """Print the changes of a roster, the oldest first."""
    if not changes:
        return
    table = _new_table("epoch", "change", "after turn", "when", "command")
    format_when = _choose_time_format(times=times)
    for change in changes:
        described = one_line(describe_change(change, names))
        after = str(change.after_turn)
        table.add_row(str(change.epoch), described, after, format_when(change.created_at), one_line(change.command_id))
    console().print(table)


def print_agents(agents: Sequence[StoredAgent]) -> None:
    """Print one line per agent."""
    table = _new_table("agent", "name", "model", "tags", "description")
    for agent in agents:
        tags = ", ".join(map(one_line, agent.tags))
        table.add_row(agent.id, one_line(agent.name), agent.model.model or "", tags, one_line(agent.description))
    console().print(table)


def print_agent(agent: StoredAgent) -> None:
    """Print everything about one agent."""
    _print_labelled(
        ("agent", agent.id),
        ("name", agent.name),
        ("description", agent.description),
        ("tags", ", ".join(agent.tags)),
        ("model", agent.model.model_dump_json(exclude_defaults=True) if agent.model.model else "the worker's default"),
        ("instructions", agent.instructions),
        *((f"block {block.label}"[:14], block.value) for block in agent.blocks),
        ("revision", str(agent.revision)),
        ("updated", format_time(agent.updated_at)),
    )


def print_groups(groups: Sequence[StoredGroup]) -> None:
    """Print one line per group."""
    table = _new_table("id", "name", "manager", "members", "description")
    for stored in groups:
        group = stored.group
        table.add_row(
            group.id,
            one_line(group.name),
            group.manager_config.manager_type,
            str(len(group.agent_ids)),
            one_line(group.description),
        )
    console().print(table)


def print_group(stored: StoredGroup, names: Mapping[str, str]) -> None:
    """Print everything about one group; `names` by agent id name its members."""
    group = stored.group
    standby = ", ".join(names.get(one.agent_id, one.agent_id) for one in group.standby)
    _print_labelled(
        ("group", group.id),
        ("name", group.name),
        ("description", group.description),
        ("members", ", ".join(names.get(agent_id, agent_id) for agent_id in group.agent_ids) or "nobody"),
        ("standby", standby),
        ("manager", group.manager_config.model_dump_json(exclude_unset=True)),
        ("settings", group.settings.model_dump_json(exclude_unset=True)),
        ("blocks", ", ".join(group.shared_block_ids)),
        ("conversation", stored.default_conversation_id or ""),
        ("revision", str(group.revision)),
        ("updated", format_time(stored.updated_at)),
    )


def print_blocks(blocks: Sequence[Block]) -> None:
    """Print one line per memory block."""
    table = _new_table("id", "label", "chars", "value")
    for block in blocks:
        table.add_row(block.id, one_line(block.label), str(len(block.value)), one_line(block.value))
    console().print(table)


def print_block(block: Block) -> None:
    """Print everything about one memory block."""
    _print_labelled(
        ("block", block.id),
        ("label", block.label),
        ("description", block.description),
        ("limit", f"{len(block.value)} of {block.limit} characters"),
        ("version", str(block.version)),
        ("updated", format_time(block.updated_at)),
    )
    print_text(console(), block.value)


def _new_table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    for name in columns:
        is_id = name in _ID_COLUMNS
        table.add_column(
            name,
            overflow="ignore" if is_id else "fold",
            no_wrap=is_id,
            justify="right" if name in _NUMERIC_COLUMNS else "left",
        )
    return table


def _choose_time_format(*, times: bool) -> Callable[[datetime], str]:
    return format_time if times else _format_age


def _format_age(time: datetime) -> str:
    seconds = max(int((datetime.now(UTC) - time).total_seconds()), 0)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
