"""Showing a conversation as it happens: lines for what has happened, and below them one that tells what goes on now."""

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
from tertulia.starter.cli.terminal import Colours, last_lines, one_line, print_words

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
_SOON_SECONDS = 0.4
_OVERHEARD_LINES = 6
"""How much of what is being said is shown."""
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


def headline(line: MembershipChange, names: Mapping[str, str]) -> str:
    """A change of members in a few words; `names` by agent id give the new order."""
    change = _CHANGE.validate_python({"kind": line.kind, "command_id": line.command_id, **line.detail})
    if isinstance(change, MembersReordered) and all(agent_id in names for agent_id in change.order):
        return f"a new order: {', '.join(names[agent_id] for agent_id in change.order)}"
    return change.describe()


def speaker_line(message: Message, colours: Colours) -> Text:
    """What stands above a message: the speaker, and where in the conversation it was said."""
    name = (one_line(message.sender), colours.of(message.sender, outside=message.role == "user"))
    turn = f" · turn {message.turn}" if message.turn is not None else ""
    return Text.assemble(name, (f"  #{message.seq}{turn}", "dim"))


def chosen_by(turn: FinishedTurn | TurnNote) -> str:
    """Who chose the speaker, and why."""
    return f"{_CHOSEN_BY.get(turn.chosen_by, turn.chosen_by)}: {turn.reason}"


class Scene:
    """The screen on which one conversation is shown.

    Args:
        console: where to.
        why: whether to tell why each speaker was chosen.
        names: members' names by agent id, those who left included.
    """

    def __init__(self, console: Console, *, why: bool, names: Mapping[str, str]) -> None:
        self._console = console
        self._why = why
        self._colours = Colours()
        self._names = dict(names)
        self._progress = Progress()

    @property
    def is_live(self) -> bool:
        """Whether somebody can see what moves."""
        return self._console.is_terminal

    @contextmanager
    def live(self) -> Iterator[None]:
        """While the block runs, the last line of a terminal tells what goes on."""
        if not self.is_live:
            yield
            return
        with Live(self._progress, console=self._console, refresh_per_second=8, transient=True):
            yield

    def said(self, happening: MessageAdded) -> None:
        """A message: who, when, why, and the words."""
        message, turn = happening.message, happening.turn
        again = f" · attempt {turn.attempt}" if turn is not None and turn.attempt > 1 else ""
        again += f" · {one_line(turn.error)}" if turn is not None and turn.error else ""
        line = speaker_line(message, self._colours).append(again, "yellow")
        self._progress.settle(message.turn)
        self._print(line.append_text(self._because(turn)))
        print_words(self._console, message.text)

    def silent(self, happening: TurnWithoutMessage) -> None:
        """A turn without a message."""
        turn = happening.turn
        name = (one_line(turn.speaker), self._colours.of(turn.speaker))
        if turn.outcome == "passed":
            line = Text.assemble(name, (f" passes  turn {turn.turn}", "dim"))
        elif turn.outcome in ("discarded", "cancelled"):
            line = Text.assemble(name, (f" was removed while speaking  turn {turn.turn}: {turn.outcome}", "yellow"))
        else:
            line = Text.assemble(name, (f" could not speak  turn {turn.turn}: {one_line(turn.error or '')}", "red"))
        self._progress.settle(turn.turn)
        self._print(line.append_text(self._because(turn)).append("\n"))

    def changed(self, happening: RosterChanged) -> None:
        """Somebody joins, leaves, is muted, or the order changes."""
        change = happening.change
        words = one_line(headline(change, self._names))
        self.note(words, _CHANGE_STYLES.get(change.kind, "cyan"))

    def told(self, news: PhaseNotice) -> None:
        """A phase that matters has begun."""
        why = f" ({one_line(news.explanation)})" if news.explanation else ""
        reason = one_line(news.reason)
        match news.kind:
            case "paused":
                self.note(f"paused: {reason}", "yellow")
            case "resumed":
                self.note("the conversation goes on", "green")
            case "round_ended":
                self.note(f"round {news.round} ended: {reason}{why}", "cyan")
            case "closed":
                self.note(f"closed: {reason}{why}", "cyan")

    def begins(self, floor: TurnStarted) -> None:
        """Somebody has the floor."""
        self._progress.show(f"turn {floor.turn} · {one_line(floor.speaker)} is speaking…")

    def overhears(self, delta: LiveDelta) -> None:
        """Words as they are said."""
        self._progress.hear(delta)

    def note(self, words: str, style: str) -> None:
        """A line of the narrator's."""
        self._print(Text.assemble((f"── {words}", style), "\n"))

    def stand(self, status: ConversationStatus) -> None:
        """What goes on now."""
        self._names.update({member.agent_id: member.name for member in status.roster.members})
        self._progress.show(_at_work(status))

    def wait(self, reason: str) -> None:
        """Something that is needed does not answer."""
        self.note(f"{one_line(reason)}; waiting", "red")
        self._progress.wait(one_line(reason))

    def _because(self, turn: FinishedTurn | TurnNote | None) -> Text:
        if turn is None or not self._why:
            return Text()
        return Text(f"\n  ↳ {one_line(chosen_by(turn))}", "dim italic")

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)


class Progress:
    """What moves: who speaks, in which turn, for how long, and the last of the words."""

    def __init__(self) -> None:
        self._spinner = Spinner("dots", style="dim")
        self._words = ""
        self._since: float | None = None
        self._overheard = Overhearing()

    def show(self, words: str) -> None:
        """Tell what the conversation is at; time runs from when that was first told."""
        self._since = monotonic() if words != self._words else self._since
        self._words = words

    def hear(self, delta: LiveDelta) -> None:
        """Somebody says this."""
        self._overheard.hear(delta)

    def wait(self, reason: str) -> None:
        """Tell that something does not answer."""
        self._words, self._since = f"{reason}; waiting", monotonic()

    def settle(self, turn: int | None) -> None:
        """A turn is over, or somebody outside has spoken. If nobody speaks soon, somebody is being chosen."""
        self._words = "" if turn is None else f"turn {turn + 1} · who speaks next?"
        self._since = monotonic() + _SOON_SECONDS
        self._overheard = Overhearing()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._words or self._since is None or self._since > monotonic():
            yield Text("")
            return
        seconds = int(monotonic() - self._since)
        self._spinner.update(text=Text(f"{self._words} {seconds} s", "dim"))
        yield self._spinner
        if self._overheard.text:
            yield Text("\n").join(last_lines(console, self._overheard.text, _OVERHEARD_LINES))


class Overhearing:
    """The words of one attempt at one turn, as far as they were heard."""

    def __init__(self) -> None:
        self.text = ""
        self._place = (0, 0)

    def hear(self, delta: LiveDelta) -> None:
        """A turn that is begun anew is heard from its beginning; what was missed in between is left out."""
        place = (delta.turn, delta.attempt)
        if place < self._place:
            return
        if place > self._place:
            self.text, self._place = "", place
        gap = "… " if delta.offset and not self.text else ""
        self.text += gap + delta.text


def _at_work(status: ConversationStatus) -> str:
    match status.phase:
        case "executing":
            return f"turn {status.turn + 1} · {one_line(status.speaking or 'somebody')} is speaking…"
        case "choosing_speaker":
            return f"turn {status.turn + 1} · who speaks next?"
        case "ready":
            return "waiting for a message"
        case "paused":
            return "paused"
        case _:
            return status.phase.replace("_", " ")
