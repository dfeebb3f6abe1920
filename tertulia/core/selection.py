"""Who speaks next. A policy is a pure function of the roster, the floor and the manager's rules; it looks nothing up.

A new kind of manager is one more function in `POLICIES` and its rules in `group.py`.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Literal

from tertulia.core.base import Record
from tertulia.core.group import MAX_MEMBERS, DynamicConfig, ManagerConfigBase, RoundRobinConfig
from tertulia.core.ids import AgentId
from tertulia.core.roster import Member, Roster, Seat

ChosenBy = Literal[
    "round_robin",
    "manager",
    "fallback_manager",
    "fallback",
    "starvation",
    "standby",
    "probation",
    "conclusion",
]


class Floor(Record):
    """Who has had the floor, as far as a policy needs it. Its size is bounded by the roster's."""

    turn: int = 0
    """The last turn taken."""
    last_speaker: AgentId | None = None
    lap: tuple[AgentId, ...] = ()
    """Whose seats have had their turn in the present lap of a rotation, those of members that left included."""
    pair: tuple[AgentId, ...] = ()
    """The one or two members that have had the floor to themselves lately…"""
    pair_turns: int = 0
    """…for so many turns."""

    def record_turn(self, speaker: AgentId, owners: Collection[AgentId], *, seat: AgentId | None) -> "Floor":
        """The floor when `speaker` has had turn `turn + 1`.

        Args:
            speaker: who had it.
            owners: whose seats there are.
            seat: whose seat has had its turn with it; None = nobody's, the turn was one more try or a substitute's.
        """
        pair, pair_turns = self._extend_pair(speaker)
        return Floor(
            turn=self.turn + 1,
            last_speaker=speaker,
            lap=self.lap if seat is None else self._extend_lap(seat, owners),
            pair=pair,
            pair_turns=pair_turns,
        )

    def _extend_lap(self, seat: AgentId, owners: Collection[AgentId]) -> tuple[AgentId, ...]:
        """A lap ends when every seat has had its turn in it, or with one that has it again."""
        begun = () if seat in self.lap else self.lap[-2 * MAX_MEMBERS :]
        lap = (*begun, seat)
        return () if all(owner in lap for owner in owners) else lap

    def _extend_pair(self, speaker: AgentId) -> tuple[tuple[AgentId, ...], int]:
        if speaker in self.pair:
            return self.pair, self.pair_turns + 1
        if len(self.pair) < 2:
            return (*self.pair, speaker), self.pair_turns + 1
        return (self.last_speaker or speaker, speaker), 2


class SelectedSpeaker(Record):
    """This member has the next turn."""

    agent_id: AgentId
    chosen_by: ChosenBy
    reason: str
    in_place_of: AgentId | None = None
    """On whose seat it speaks, if not on its own."""


class ManagerRequired(Record):
    """The manager shall choose among these."""

    candidates: tuple[AgentId, ...]
    note: str = ""
    """Why some are not among them."""


class NoSpeaker(Record):
    """No member can speak."""


Selection = SelectedSpeaker | ManagerRequired | NoSpeaker


def select_round_robin(roster: Roster, floor: Floor, rules: ManagerConfigBase) -> Selection:
    """Every seat once a lap, in the roster's present order.

    Keyed by whose seats have had their turn in this lap, never by index: a change of members or of their order neither
    skips nor doubles anyone. A new lap does not begin with the member that ended the last one, unless it is alone.
    """
    seats = roster.seats()
    waiting = [seat for seat in seats if seat.owner not in floor.lap] or list(seats)
    if not waiting:
        return NoSpeaker()
    seat = next((one for one in waiting if one.occupant.agent_id != floor.last_speaker), waiting[0])
    last = roster.find(floor.last_speaker) if floor.last_speaker else None
    return select_seat(
        roster, seat, "round_robin", f"next in rotation after {last.name}" if last else "next in rotation"
    )


def select_dynamic(roster: Roster, floor: Floor, rules: ManagerConfigBase) -> Selection:
    """The manager chooses among those who can speak, less the last speaker.

    Three rules go before it, so that none is left out for ever: one on probation is tried, a starving member speaks,
    and two that have had the floor to themselves for long give way to a third.
    """
    assert isinstance(rules, DynamicConfig)
    seats = roster.seats()
    others = [seat for seat in seats if rules.allow_repeated_speaker or seat.occupant.agent_id != floor.last_speaker]
    open_seats = others or list(seats)
    if not open_seats:
        return NoSpeaker()
    if probation_seat := next((seat for seat in open_seats if seat.occupant.health.state == "probation"), None):
        return select_seat(roster, probation_seat, "probation", "tried again")
    longest_waiting = min(open_seats, key=lambda seat: _last_seat_turn(roster, seat))
    waiting_turns = floor.turn - _last_seat_turn(roster, longest_waiting)
    if rules.starvation_turns is not None and waiting_turns >= rules.starvation_turns:
        reason = f"unheard for {waiting_turns} turns (starvation_turns = {rules.starvation_turns})"
        return select_seat(roster, longest_waiting, "starvation", reason)
    return _exclude_pair(roster, floor, rules, [seat.occupant for seat in open_seats])


def _exclude_pair(roster: Roster, floor: Floor, rules: DynamicConfig, candidates: Sequence[Member]) -> ManagerRequired:
    others_waiting = [member for member in candidates if member.agent_id not in floor.pair]
    if rules.max_pair_turns is None or floor.pair_turns < rules.max_pair_turns or not others_waiting:
        return ManagerRequired(candidates=tuple(member.agent_id for member in candidates))
    names = " and ".join(member.name for member in roster.members if member.agent_id in floor.pair)
    note = f"{names} have had the last {floor.pair_turns} turns (max_pair_turns = {rules.max_pair_turns})"
    return ManagerRequired(candidates=tuple(member.agent_id for member in others_waiting), note=note)


def select_seat(roster: Roster, seat: Seat, chosen_by: ChosenBy, reason: str) -> SelectedSpeaker:
    """Let the occupant of that seat speak; the reason tells also for whom, and whether it is a trial."""
    occupant = seat.occupant
    substitute = occupant.agent_id != seat.owner
    notes = [reason]
    if occupant.health.state == "probation":
        notes.append(f"on probation ({occupant.health.reason})")
    if substitute:
        notes.append(f"in place of {roster.get(seat.owner).name}")
    return SelectedSpeaker(
        agent_id=occupant.agent_id,
        chosen_by=chosen_by,
        reason=", ".join(notes),
        in_place_of=seat.owner if substitute else None,
    )


def find_seat(roster: Roster, agent_id: AgentId) -> Seat | None:
    """The seat on which that member speaks now."""
    return next((seat for seat in roster.seats() if seat.occupant.agent_id == agent_id), None)


def least_recent_speaker(roster: Roster, candidates: tuple[AgentId, ...]) -> AgentId | None:
    """The fallback rule: of those candidates that can speak, who has waited longest; first in the order on a tie."""
    able = [member for member in roster.active_members() if member.agent_id in candidates] or list(
        roster.active_members()
    )
    return min(able, key=lambda member: member.last_turn).agent_id if able else None


Policy = Callable[[Roster, Floor, ManagerConfigBase], Selection]

POLICIES: dict[type[ManagerConfigBase], Policy] = {RoundRobinConfig: select_round_robin, DynamicConfig: select_dynamic}


def select_speaker(roster: Roster, floor: Floor, rules: ManagerConfigBase) -> Selection:
    """Whom the group's manager lets speak next."""
    return POLICIES[type(rules)](roster, floor, rules)


def _last_seat_turn(roster: Roster, seat: Seat) -> int:
    """One that stands in has not been waiting while its seat was heard."""
    owner = roster.get(seat.owner)
    return max(owner.last_turn, owner.joined_turn, seat.occupant.last_turn, seat.occupant.joined_turn)
