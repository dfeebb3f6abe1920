"""Show a conversation as it happens: lines for what has happened, and one moving line for what goes on now."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from pydantic import TypeAdapter
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from tertulia.client.timeline import MessageAdded, PhaseNotice, RosterChanged, TurnNote, TurnStarted, TurnWithoutMessage
from tertulia.core.records import FinishedTurn, LiveDelta, MembershipChange, Message
from tertulia.core.roster_changes import AnyRosterChange, MembersReordered
from tertulia.core.status import ConversationStatus
from tertulia.starter.cli.terminal import SpeakerColours, format_time, last_lines, one_line, print_text

_CHANGE: TypeAdapter[AnyRosterChange] = TypeAdapter(AnyRosterChange)
_CHANGE_STYLES = {
    "add": "green",
    "remove": "red",
    "replace": "yellow",
    "mute": "yellow",
    "unmute": "green",
    "reinstate": "green",
    "health": "yellow",
    "manager_health": "yellow",
}
_SELECTION_DELAY_SECONDS = 0.4
"""A selection that takes less time is not shown: the line would only flicker."""
_LIVE_TEXT_LINES = 6
_CHOSEN_BY = {
    "manager": "the manager",
    "round_robin": "the rotation",
    "fallback_manager": "a fallback manager",
    "fallback": "the fallback rule",
    "standby": "the failure policy",
    "probation": "the recovery rule",
    "conclusion": "the budget",
    "starvation": "the starvation rule",
}


def describe_change(line: MembershipChange, names: Mapping[str, str]) -> str:
    """Return a roster change in a few words; `names` by agent id name the members of a new order."""
    change = _CHANGE.validate_python({"kind": line.kind, "command_id": line.command_id, **line.detail})
    if isinstance(change, MembersReordered) and all(agent_id in names for agent_id in change.order):
        return f"a new order: {', '.join(names[agent_id] for agent_id in change.order)}"
    return change.describe()


def format_message_header(message: Message, speaker_colours: SpeakerColours, *, times: bool = False) -> Text:
    """Return the line above a message: sender, number, turn and, on request, time."""
    name = (one_line(message.sender), speaker_colours.style_for(message.sender, outside=message.role == "user"))
    turn = f" · turn {message.turn}" if message.turn is not None else ""
    time = f" · {format_time(message.created_at)}" if times else ""
    return Text.assemble(name, (f"  #{message.seq}{turn}{time}", "dim"))


def describe_selection(turn: FinishedTurn | TurnNote) -> str:
    """Return who selected the speaker, and why."""
    return f"{_CHOSEN_BY.get(turn.chosen_by, turn.chosen_by)}: {turn.reason}"


class LiveView:
    """One conversation on one console.

    Args:
        console: where to print.
        why: show why each speaker was selected.
        times: show the time of each message.
        names: members' names by agent id, former members included.
    """

    def __init__(self, console: Console, *, why: bool, names: Mapping[str, str], times: bool = False) -> None:
        self._console = console
        self._why = why
        self._times = times
        self._colours = SpeakerColours()
        self._names = dict(names)
        self._progress = ProgressLine()

    @property
    def is_live(self) -> bool:
        """True if the console can show the moving line."""
        return self._console.is_terminal

    @contextmanager
    def live(self) -> Iterator[None]:
        """Show the moving line until the block ends."""
        if not self.is_live:
            yield
            return
        with Live(self._progress, console=self._console, refresh_per_second=8, transient=True):
            yield

    def add_message(self, item: MessageAdded) -> None:
        """Print a message under its speaker."""
        message, turn = item.message, item.turn
        notes = f" · attempt {turn.attempt}" if turn is not None and turn.attempt > 1 else ""
        notes += f" · {one_line(turn.error)}" if turn is not None and turn.error else ""
        line = format_message_header(message, self._colours, times=self._times).append(notes, "yellow")
        self._progress.finish_turn(message.turn)
        self._print(line.append_text(self._reason_line(turn)))
        print_text(self._console, message.text)

    def add_turn_without_message(self, item: TurnWithoutMessage) -> None:
        """Print why a turn has no message."""
        turn = item.turn
        name = (one_line(turn.speaker), self._colours.style_for(turn.speaker))
        if turn.outcome == "passed":
            line = Text.assemble(name, (f" passes  turn {turn.turn}", "dim"))
        elif turn.outcome in ("discarded", "cancelled"):
            line = Text.assemble(name, (f" was removed while speaking  turn {turn.turn}: {turn.outcome}", "yellow"))
        else:
            line = Text.assemble(name, (f" could not speak  turn {turn.turn}: {one_line(turn.error or '')}", "red"))
        self._progress.finish_turn(turn.turn)
        self._print(line.append_text(self._reason_line(turn)).append("\n"))

    def add_roster_change(self, item: RosterChanged) -> None:
        """Print a change of members."""
        change = item.change
        self.add_note(one_line(describe_change(change, self._names)), _CHANGE_STYLES.get(change.kind, "cyan"))

    def add_phase_notice(self, notice: PhaseNotice) -> None:
        """Print a change of phase."""
        explanation = f" ({one_line(notice.explanation)})" if notice.explanation else ""
        reason = one_line(notice.reason)
        match notice.kind:
            case "paused":
                self.add_note(f"paused: {reason}", "yellow")
            case "resumed":
                self.add_note("the conversation goes on", "green")
            case "round_ended":
                self.add_note(f"round {notice.round} ended: {reason}{explanation}", "cyan")
            case "closed":
                self.add_note(f"closed: {reason}{explanation}", "cyan")

    def add_note(self, text: str, style: str) -> None:
        """Print a line that is no member's message."""
        self._print(Text.assemble((f"── {text}", style), "\n"))

    def show_turn_start(self, item: TurnStarted) -> None:
        """Show who speaks now."""
        self._progress.show(f"turn {item.turn} · {one_line(item.speaker)} is speaking…")

    def show_text(self, delta: LiveDelta) -> None:
        """Show the text that the model produces now."""
        self._progress.add_text(delta)

    def show_status(self, status: ConversationStatus) -> None:
        """Show what the conversation does now."""
        self._names.update({member.agent_id: member.name for member in status.roster.members})
        self._progress.show(_describe_activity(status))

    def show_waiting(self, reason: str) -> None:
        """Print that something the conversation needs does not answer."""
        self.add_note(f"{one_line(reason)}; waiting", "red")
        self._progress.show_waiting(one_line(reason))

    def _reason_line(self, turn: FinishedTurn | TurnNote | None) -> Text:
        if turn is None or not self._why:
            return Text()
        return Text(f"\n  ↳ {one_line(describe_selection(turn))}", "dim italic")

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)


class ProgressLine:
    """The moving line: who speaks, in which turn, for how long, and the end of the text so far."""

    def __init__(self) -> None:
        self._spinner = Spinner("dots", style="dim")
        self._label = ""
        self._visible_from: float | None = None
        self._text = LiveText()

    def show(self, label: str) -> None:
        """Show what goes on; the time runs from the first call with this label."""
        self._visible_from = monotonic() if label != self._label else self._visible_from
        self._label = label

    def add_text(self, delta: LiveDelta) -> None:
        """Append text of the present turn."""
        self._text.add(delta)

    def show_waiting(self, reason: str) -> None:
        """Show that something does not answer."""
        self._label, self._visible_from = f"{reason}; waiting", monotonic()

    def finish_turn(self, turn: int | None) -> None:
        """Clear the line after a turn, or after a message from outside; then a speaker is selected."""
        self._label = "" if turn is None else f"turn {turn + 1} · who speaks next?"
        self._visible_from = monotonic() + _SELECTION_DELAY_SECONDS
        self._text = LiveText()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._label or self._visible_from is None or self._visible_from > monotonic():
            yield Text("")
            return
        seconds = int(monotonic() - self._visible_from)
        self._spinner.update(text=Text(f"{self._label} {seconds} s", "dim"))
        yield self._spinner
        if self._text.text:
            yield Text("\n").join(last_lines(console, self._text.text, _LIVE_TEXT_LINES))


class LiveText:
    """The text of one attempt at one turn, as far as it arrived."""

    def __init__(self) -> None:
        self.text = ""
        self._turn_attempt = (0, 0)

    def add(self, delta: LiveDelta) -> None:
        """Append a delta. A new attempt starts from empty text; a gap shows as an ellipsis."""
        attempt = (delta.turn, delta.attempt)
        if attempt < self._turn_attempt:
            return
        if attempt > self._turn_attempt:
            self.text, self._turn_attempt = "", attempt
        gap = "… " if delta.offset and not self.text else ""
        self.text += gap + delta.text


def _describe_activity(status: ConversationStatus) -> str:
    match status.phase:
        case "executing":
            return f"turn {status.turn + 1} · {one_line(status.speaking or 'a member')} is speaking…"
        case "choosing_speaker":
            return f"turn {status.turn + 1} · who speaks next?"
        case "ready":
            return "waiting for a message"
        case "paused":
            return "paused"
        case _:
            return status.phase.replace("_", " ")
