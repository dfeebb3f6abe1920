"""In-memory simulator around the state machine: answers each decision as the activities would, and counts.

Invariant: the assumptions of workflow and activities are asserted with every answer, so every test that drives a
conversation with it checks them as well.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self

from tertulia.core.admission import admit, newcomer_of
from tertulia.core.commands import COMMANDS, AnyCommand, Receipt
from tertulia.core.decisions import (
    AnnouncePhase,
    ApplyMembership,
    AskManager,
    CloseConversation,
    CloseRound,
    Decision,
    Finish,
    LoadConversation,
    LoadGroup,
    RecordPosts,
    TakeTurn,
    WaitForInput,
)
from tertulia.core.errors import CommandRefused
from tertulia.core.events import (
    AnyEvent,
    ConversationEnded,
    ConversationLoaded,
    GroupDeleted,
    GroupLoaded,
    ManagerFinished,
    MembershipApplied,
    PhaseAnnounced,
    PostsRecorded,
    ProbeDue,
    RoundClosed,
    SelectionFailed,
    SpeakerChosen,
    TurnCompleted,
)
from tertulia.core.group import DynamicConfig, GroupSettings, ManagerConfig, RoundRobinConfig, Standby
from tertulia.core.ids import AgentId, CommandId, ConversationId, GroupId
from tertulia.core.pending_changes import in_flight_policy
from tertulia.core.phase_announcements import next_phase_change
from tertulia.core.phases import PhaseChange
from tertulia.core.roster import MemberRef, Roster
from tertulia.core.roster_changes import AnyRosterChange, ManagerHealthChanged, MemberHealthChanged
from tertulia.core.round_rules import termination_tokens
from tertulia.core.state import RULES_VERSION, ConversationState
from tertulia.core.state_machine import apply, decide, start_decision
from tertulia.core.usage import Usage

SimulatedOutcome = Literal["spoke", "passed", "failed", "done", "rescued"]
"""Result of a turn. `done`: the message has every termination token; `rescued`: a fallback model answers."""

ManagerAnswer = Literal["choose", "finish", "fail"]
"""Answer of a manager."""

START_TIME = datetime(2026, 1, 1, tzinfo=UTC)
MAX_IDLE_STEPS = 2_000
"""Steps without input after which the state machine counts as looping."""


def ref(number: int) -> MemberRef:
    """Return agent `number` of the tests, for example id `a3`, name `Agent3`."""
    return MemberRef(agent_id=AgentId(f"a{number}"), name=f"Agent{number}")


@dataclass(frozen=True)
class TranscriptLine:
    """A message of the transcript."""

    seq: int
    text: str
    message_id: str | None = None
    turn: int | None = None


@dataclass
class CoreSimulator:
    """One conversation, driven by half steps: start a decision, or apply its event."""

    members: tuple[MemberRef, ...] = (ref(0), ref(1), ref(2))
    rules: ManagerConfig = field(default_factory=RoundRobinConfig)
    settings: GroupSettings = field(default_factory=GroupSettings)
    outcome: Callable[[int], SimulatedOutcome] = lambda turn: "spoke"
    answer: Callable[[int], ManagerAnswer] = lambda turn: "choose"
    choice: Callable[[int, Sequence[AgentId]], AgentId] = lambda turn, among: among[turn % len(among)]
    """The manager's choice for a turn among candidates."""
    standby: tuple[Standby, ...] = ()
    """Members that only stand in for others."""
    down: Callable[[int], Collection[str]] = lambda turn: ()
    """Ids of agents, managers included, whose models all fail in a turn; takes precedence over `outcome`."""
    tokens_per_call: int = 3
    seconds_per_event: float = 1
    close_after_round: bool = False
    rules_version: int = RULES_VERSION

    transcript: list[TranscriptLine] = field(default_factory=list)
    turns: list[TurnCompleted] = field(default_factory=list)
    turn_decisions: list[TakeTurn] = field(default_factory=list)
    """The decision of each turn."""
    rosters: list[Roster] = field(default_factory=list)
    """The roster at each turn."""
    changes: list[AnyRosterChange] = field(default_factory=list)
    """All applied roster changes, as in the audit."""
    decisions: list[Decision] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    stored: Roster = field(default_factory=Roster)
    """The roster as stored in the database."""
    accepted: list[str] = field(default_factory=list)
    """Ids of accepted messages, in order."""
    phases: list[PhaseChange] = field(default_factory=list)
    """Published phase changes, in order."""
    revision: int = 1
    """Revision of the group."""
    group_is_gone: bool = False
    current_decision: Decision | None = None
    spent: Usage = field(default_factory=Usage)
    """Usage of all answers."""
    events: int = 0
    skipped_time: timedelta = timedelta()
    """Waiting time that was skipped while no member could speak."""

    def __post_init__(self) -> None:
        self.state = ConversationState(
            group="g",
            conversation_id=ConversationId("c"),
            close_after_round=self.close_after_round,
            rules_version=self.rules_version,
        )

    @classmethod
    def loaded(cls, **options: object) -> Self:
        """Return a simulator whose conversation is loaded and waits for its first message."""
        simulator = cls(**options)  # type: ignore[arg-type]
        simulator.run()
        return simulator

    def command(self, name: str, command_id: str, **fields: object) -> Receipt:
        """Send a command.

        Raises:
            CommandRefused: the command is refused.
        """
        return self.send(name, COMMANDS[name].model_validate(fields), command_id)

    def send(self, name: str, command: AnyCommand, command_id: str) -> Receipt:
        """Send a parsed command; assert that a refused or repeated one changes nothing."""
        who = newcomer_of(command)
        joining = None if who is None else ref(int(who.lower().removeprefix("agent").removeprefix("a")))
        # A state is frozen, except the dictionary of its receipts.
        before = self.state.model_copy(update={"receipts": dict(self.state.receipts)})
        new = command_id not in self.state.receipts
        try:
            self.state, receipt = admit(self.state, name, command, CommandId(command_id), joining=joining)
        except CommandRefused as refusal:
            assert str(refusal), "a refusal has a reason"
            assert self.state == before, "a refusal changes nothing"
            raise
        if new and name == "post_message":
            self.accepted.append(command_id)
        if not new:
            assert self.state == before, "a repeated command changes nothing"
        self.receipts.append(receipt)
        return receipt

    def post(self, command_id: str, text: str = "hello") -> Receipt:
        """Post a message whose text ends with its id."""
        return self.command("post_message", command_id, text=f"{text} {command_id}")

    def half_step(self) -> Decision:
        """Start the next decision, or apply the event of the current one; return the decision.

        A rest that ends by itself is under way too: unless a command has ended it, the clock jumps to its end.
        """
        if isinstance(self.current_decision, WaitForInput) and decide(self.state) != self.current_decision:
            self.current_decision = None
        if self.current_decision is None:
            decision = decide(self.state)
            self.decisions.append(decision)
            self.state = start_decision(self.state, decision)
            assert self.state.phase != "ready" or self.state.round is None, "ready is what waits for a message"
            rests = isinstance(decision, WaitForInput) and decision.until is None
            if not rests and not isinstance(decision, Finish):
                self.current_decision = decision
            return decision
        decision, self.current_decision = self.current_decision, None
        self.events += 1
        self.state = apply(self.state, self._carry_out(decision))
        return decision

    def run(self) -> WaitForInput | Finish:
        """Run until the conversation waits for input or time; fail if it never does."""
        if isinstance(self.current_decision, WaitForInput):
            self.current_decision = None
        for _ in range(2 * MAX_IDLE_STEPS):
            decision = self.half_step()
            if isinstance(decision, WaitForInput | Finish):
                return decision
        raise AssertionError(f"spins: {[type(one).__name__ for one in self.decisions[-6:]]}")

    def wait_for_probe(self) -> WaitForInput | Finish:
        """Skip the time until the next probe, and run."""
        rest = self.run()
        assert isinstance(rest, WaitForInput), "the conversation is closed"
        assert rest.until, "nobody will be tried by itself"
        self.half_step()
        return self.run()

    def settle(self) -> WaitForInput | Finish:
        """Run and skip waiting times until the conversation waits for input; fail if no member ever answers."""
        for _ in range(MAX_IDLE_STEPS):
            rest = self.run()
            if isinstance(rest, Finish) or rest.until is None:
                return rest
            self.half_step()
        raise AssertionError(f"nobody ever answers: {self.state.roster!r}")

    def turn(self) -> TurnCompleted:
        """Run until one more turn is complete."""
        done = len(self.turns)
        for _ in range(20):
            self.half_step()
            if len(self.turns) > done:
                return self.turns[-1]
        raise AssertionError(f"nobody speaks: {self.decisions[-1]!r}")

    def speakers(self) -> list[str]:
        """Return the ids of the speakers of all turns, in order."""
        return [turn.speaker.agent_id for turn in self.turns]

    def seats(self) -> list[str]:
        """Return the owners of the served seats, for turns that spoke or passed."""
        return [
            taken.chosen.in_place_of or taken.chosen.member.agent_id
            for turn, taken in zip(self.turns, self.turn_decisions, strict=True)
            if turn.outcome in ("spoke", "passed")
        ]

    def health_history(self, agent_id: str) -> list[str]:
        """Return the health states of a member or manager, in order."""
        return [
            change.health.state
            for change in self.changes
            if isinstance(change, MemberHealthChanged | ManagerHealthChanged)
            and agent_id == (change.member if isinstance(change, MemberHealthChanged) else change.manager).agent_id
        ]

    def recorded_ids(self) -> list[str]:
        """Return the ids of posted messages in transcript order."""
        return [line.message_id for line in self.transcript if line.message_id is not None]

    @property
    def now(self) -> datetime:
        return START_TIME + timedelta(seconds=self.events * self.seconds_per_event) + self.skipped_time

    def _carry_out(self, decision: Decision) -> AnyEvent:
        match decision:
            case LoadConversation():
                return self._load_conversation()
            case ApplyMembership():
                return self._apply_membership(decision)
            case LoadGroup():
                return self._load_group()
            case AnnouncePhase(change=change):
                self._announce(change)
                return PhaseAnnounced(at=self.now, change=change)
            case RecordPosts():
                return self._record_posts(decision)
            case AskManager():
                return self._ask_manager(decision)
            case TakeTurn():
                return self._take_turn(decision)
            case CloseRound():
                self._announce(next_phase_change(self.state, "ready", decision.reason))
                return RoundClosed(
                    at=self.now, reason=decision.reason, explanation=decision.explanation, closes=decision.closes
                )
            case CloseConversation():
                self._announce(next_phase_change(self.state, "closed", decision.reason))
                return ConversationEnded(at=self.now, last_seq=len(self.transcript))
            case WaitForInput(until=until) if until:
                self.skipped_time += max(until - self.now, timedelta())
                return ProbeDue(at=self.now)
            case WaitForInput() | Finish():
                raise AssertionError("nothing to carry out")

    def _load_conversation(self) -> ConversationLoaded:
        self.stored = Roster(epoch=1)
        return ConversationLoaded(at=self.now, group_id=GroupId("g"), **self._group_fields())

    def _load_group(self) -> GroupLoaded | GroupDeleted:
        assert self.state.notified_revision > 1, "the group is read again only after a change"
        return GroupDeleted(at=self.now) if self.group_is_gone else GroupLoaded(at=self.now, **self._group_fields())

    def _group_fields(self) -> dict[str, Any]:
        managers = self.rules.manager_ids if isinstance(self.rules, DynamicConfig) else ()
        return {
            "group_name": "The group",
            "description": "",
            "manager_config": self.rules,
            "settings": self.settings,
            "members": self.members,
            "standby": self.standby,
            "managers": tuple(MemberRef(agent_id=one, name=one.title()) for one in managers),
            "revision": self.revision,
        }

    def _announce(self, change: PhaseChange) -> None:
        assert change.number == len(self.phases) + 1, "changes of the phase are counted without a gap"
        before = self.phases[-1].phase if self.phases else "ready"
        assert change.phase != before, "each phase change is published once"
        self.phases.append(change)

    def _apply_membership(self, decision: ApplyMembership) -> MembershipApplied:
        assert decision.first_epoch == self.stored.epoch + 1, "epochs have no gaps"
        assert decision.roster.epoch == self.stored.epoch + len(decision.changes)
        self.stored = decision.roster
        self.changes += decision.changes
        assert len({change.command_id for change in self.changes}) == len(self.changes), "the audit is keyed by id"
        return MembershipApplied(at=self.now, count=len(decision.changes))

    def _record_posts(self, decision: RecordPosts) -> PostsRecorded:
        assert decision.posts, "an empty record is no progress"
        if decision.round_start:
            assert self.state.round is None, "a round begins when the one before has ended"
            self._announce(decision.round_start)
        assert decision.first_seq == len(self.transcript) + 1, "seq has no gaps"
        for post in decision.posts:
            assert post.message_id not in self.recorded_ids(), "a message is recorded once"
            self.transcript.append(TranscriptLine(len(self.transcript) + 1, post.text, message_id=post.message_id))
        starts_round = decision.round_start is not None
        return PostsRecorded(
            at=self.now, count=len(decision.posts), last_seq=len(self.transcript), starts_round=starts_round
        )

    def _ask_manager(self, decision: AskManager) -> SpeakerChosen | SelectionFailed | ManagerFinished:
        assert decision.candidates, "a manager has somebody to choose"
        assert decision.turn == len(self.turns) + 1
        usage = Usage(prompt_tokens=self.tokens_per_call, model_calls=1)
        self.spent += usage
        manager = decision.manager
        answer = self.answer(decision.turn)
        if answer == "fail" or manager.agent_id in self.down(decision.turn):
            reason = "nobody was chosen"
            return SelectionFailed(
                at=self.now, manager=manager, candidates=decision.candidates, reason=reason, usage=usage
            )
        if answer == "finish":
            return ManagerFinished(at=self.now, manager=manager, reason="enough", usage=usage)
        chosen = self.choice(decision.turn, decision.candidates)
        return SpeakerChosen(
            at=self.now, manager=manager, agent_id=chosen, chosen_by="manager", reason="it fits", usage=usage
        )

    def _take_turn(self, decision: TakeTurn) -> TurnCompleted:
        assert decision.turn == len(self.turns) + 1, "turns have no gaps"
        assert self.state.last_seq == len(self.transcript), "the speaker is shown all there is"
        outcome = self._outcome(decision)
        if outcome in ("spoke", "done", "rescued"):
            text = f"turn {decision.turn}"
            self.transcript.append(TranscriptLine(len(self.transcript) + 1, text, turn=decision.turn))
        usage = Usage() if outcome == "cancelled" else Usage(prompt_tokens=self.tokens_per_call, model_calls=1)
        completed = TurnCompleted(
            at=self.now,
            turn=decision.turn,
            speaker=decision.chosen.member,
            outcome="spoke" if outcome in ("done", "rescued") else outcome,
            text_preview=f"turn {decision.turn}",
            seq=len(self.transcript),
            chosen_by=decision.chosen.chosen_by,
            reason=decision.chosen.reason,
            tokens_found=termination_tokens(self.state) if outcome == "done" else (),
            usage=usage,
            seconds=self.seconds_per_event,
            fallback_index=1 if outcome == "rescued" else decision.first_fallback_index,
            error={"failed": "the model is down", "rescued": "the own model is down"}.get(outcome, ""),
        )
        self.spent += usage
        self.turns.append(completed)
        self.turn_decisions.append(decision)
        self.rosters.append(self.state.roster)
        return completed

    def _outcome(self, decision: TakeTurn) -> SimulatedOutcome | Literal["discarded", "cancelled"]:
        match in_flight_policy(self.state):
            case "discard":
                return "discarded"
            case "cancel":
                return "cancelled"
        down = decision.chosen.member.agent_id in self.down(decision.turn)
        return "failed" if down else self.outcome(decision.turn)
