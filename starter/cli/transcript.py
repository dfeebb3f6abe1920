"""Commands that read conversations: `watch`, `show`, `status`, `list`."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from tertulia.core.phases import PublicPhase
from tertulia.starter.cli.options import ConversationArgument, DataOption, JsonOption, TimesOption, WhyOption
from tertulia.starter.cli.session import with_client, with_conversation
from tertulia.starter.cli.terminal import print_json

if TYPE_CHECKING:
    from tertulia.client.client import Tertulia
    from tertulia.client.conversation import Conversation
    from tertulia.core.records import ConversationRow, FinishedTurn, Message

_AGE = re.compile(r"(\d+)\s*(min|m|h|d|w)")
_UNITS = {
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (watch, show, status):
        app.command()(command)
    app.command("list")(list_conversations)


def watch(
    conversation: ConversationArgument,
    why: WhyOption = False,
    times: TimesOption = False,
    from_start: Annotated[bool, typer.Option("--from-start", help="Start with the first message.")] = False,
    last: Annotated[int, typer.Option("--last", min=0, metavar="N", help="Start with the last N messages.")] = 20,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a conversation live, until it closes or Ctrl-C.

    Example: tertulia watch CONVERSATION --why --last 5
    """

    async def work(found: "Conversation") -> None:
        from tertulia.starter.cli.follow import follow, is_closed

        after = await found.event_cursor(last=None if from_start else last)
        await follow(found, after, until=is_closed, why=why, times=times, as_json=as_json)

    with_conversation(data, conversation, work)


def show(
    conversation: ConversationArgument,
    turns: Annotated[bool, typer.Option("--turns", help="A table of turns: speaker, reason, cost.")] = False,
    times: TimesOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the transcript of a conversation."""
    if turns:
        _show_turns(conversation, data, times=times, as_json=as_json)
        return

    async def read(found: "Conversation") -> "tuple[str, list[Message]]":
        return found.id, [message async for message in found.transcript()]

    conversation_id, messages = with_conversation(data, conversation, read)
    if as_json:
        lines = [message.model_dump(mode="json") for message in messages]
        print_json({"conversation_id": conversation_id, "messages": lines})
        return
    from tertulia.starter.cli.tables import print_transcript

    print_transcript(messages, times=times)


def _show_turns(conversation: str, data: DataOption, *, times: bool, as_json: bool) -> None:
    async def read(found: "Conversation") -> "tuple[str, list[FinishedTurn]]":
        return found.id, [turn async for turn in found.turns()]

    conversation_id, finished = with_conversation(data, conversation, read)
    if as_json:
        lines = [turn.model_dump(mode="json") for turn in finished]
        print_json({"conversation_id": conversation_id, "turns": lines})
        return
    from tertulia.starter.cli.tables import print_turns

    print_turns(finished, times=times)


def status(conversation: ConversationArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Print the status of a conversation: phase, roster, cost, pending input, refused signals."""
    from tertulia.starter.cli.tables import print_status

    now = with_conversation(data, conversation, lambda found: found.status())
    if as_json:
        print_json(now.model_dump(mode="json"))
    else:
        print_status(now)


def list_conversations(
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, metavar="N", help="How many at most.")] = 20,
    phase: Annotated[
        str | None, typer.Option("--phase", metavar="ready|executing|paused|closed", help="Only in this phase.")
    ] = None,
    group: Annotated[str | None, typer.Option("--group", metavar="GROUP", help="Only of this group.")] = None,
    member: Annotated[str | None, typer.Option("--member", metavar="AGENT", help="Only with this member.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Only started since: 30min, 2h, 3d, 1w, or an ISO 8601 time."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Only started before, written in the same way.")
    ] = None,
    count: Annotated[bool, typer.Option("--count", help="Print only how many there are.")] = False,
    times: TimesOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List conversations, the newest first.

    Example: tertulia list --phase paused --group "The long table" --since 2d
    """
    after, before = _parse_time(since, "--since"), _parse_time(until, "--until")
    public_phase = _parse_phase(phase)

    async def read_count(client: "Tertulia") -> int:
        return await client.conversations.count(
            group=group, phase=public_phase, member=member, created_after=after, created_before=before
        )

    async def read(client: "Tertulia") -> "list[ConversationRow]":
        return await client.conversations.list(
            group=group, phase=public_phase, member=member, created_after=after, created_before=before, limit=limit
        )

    if count:
        total = with_client(data, read_count)
        print_json({"count": total}) if as_json else print(total)
        return
    rows = with_client(data, read)
    if as_json:
        print_json([row.model_dump(mode="json", exclude={"final_status", "organisation_id"}) for row in rows])
        return
    from tertulia.starter.cli.tables import print_conversations

    print_conversations(rows, times=times)


def _parse_phase(text: str | None) -> PublicPhase | None:
    match text:
        case None | "ready" | "executing" | "paused" | "closed":
            return text
    raise typer.BadParameter("a phase is ready, executing, paused or closed", param_hint="--phase")


def _parse_time(text: str | None, option: str) -> datetime | None:
    """Return the time that `text` names: an age before now, or an ISO 8601 time, local unless it has a zone."""
    if text is None:
        return None
    if age := _AGE.fullmatch(text.strip()):
        return datetime.now(UTC) - int(age[1]) * _UNITS[age[2]]
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither an age such as 30min, 2h, 3d or 1w nor an ISO 8601 time", param_hint=option
        ) from None
    return time.astimezone()
