"""Speaker selection. A policy is a pure function of roster, floor and manager configuration.

A new manager type is one more function in `POLICIES` and its configuration in `group.py`.
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
    """Past speakers, as far as policies need them. The size is bounded by the size of the roster."""

    turn: int = 0
    """Last turn taken."""
    last_speaker: AgentId | None = None
    lap: tuple[AgentId, ...] = ()
    """Owners of the seats that had their turn in the current lap of the rotation, removed members included."""
    pair: tuple[AgentId, ...] = ()
    """The one or two members that took all of the latest turns."""
    pair_turns: int = 0
    """Number of these turns."""

    def record_turn(self, speaker: AgentId, owners: Collection[AgentId], *, seat: AgentId | None) -> "Floor":
        """Return the floor after turn `turn + 1`.

        Args:
            speaker: the speaker of the turn.
            owners: owners of the current seats.
            seat: owner of the seat whose turn it was; None = no seat is served, for example by a concluding turn.
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
        """Return the lap after a turn of `seat`: empty if all seats are served, restarted if one is served twice."""
        # Removed owners stay in the lap until it ends; the slice bounds them.
        served = () if seat in self.lap else self.lap[-2 * MAX_MEMBERS :]
        lap = (*served, seat)
        return () if all(owner in lap for owner in owners) else lap

    def _extend_pair(self, speaker: AgentId) -> tuple[tuple[AgentId, ...], int]:
        if speaker in self.pair:
            return self.pair, self.pair_turns + 1
        if len(self.pair) < 2:
            return (*self.pair, speaker), self.pair_turns + 1
        return (self.last_speaker or speaker, speaker), 2


class SelectedSpeaker(Record):
    """The member that takes the next turn."""

    agent_id: AgentId
    chosen_by: ChosenBy
    reason: str
    in_place_of: AgentId | None = None
    """Owner of the seat it takes; None = its own seat."""


class ManagerRequired(Record):
    """The manager must choose among the candidates."""

    candidates: tuple[AgentId, ...]
    note: str = ""
    """Why some members are no candidates; empty = all can be chosen."""


class NoSpeaker(Record):
    """No member can speak."""


Selection = SelectedSpeaker | ManagerRequired | NoSpeaker


def select_round_robin(roster: Roster, floor: Floor, rules: ManagerConfigBase) -> Selection:
    """Serve every seat once per lap, in roster order.

    The lap holds owners of served seats, not an index: a change of members or of their order neither skips nor repeats
    a seat. A new lap does not start with the last speaker, unless it is the only one.
    """
    seats = roster.seats()
    waiting = [seat for seat in seats if seat.owner not in floor.lap] or list(seats)
    if not waiting:
        return NoSpeaker()
    seat = next((seat for seat in waiting if seat.occupant.agent_id != floor.last_speaker), waiting[0])
    last = roster.find(floor.last_speaker) if floor.last_speaker else None
    return select_seat(
        roster, seat, "round_robin", f"next in rotation after {last.name}" if last else "next in rotation"
    )


def select_dynamic(roster: Roster, floor: Floor, rules: ManagerConfigBase) -> Selection:
    """Let the manager choose among the members that can speak, without the last speaker.

    Three rules come first, so that no member is left out for ever: a member on probation is tried; a member that has
    waited for `starvation_turns` speaks; two members that took the last `max_pair_turns` turns are excluded.
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
        reason = f"waiting for {waiting_turns} turns (starvation_turns = {rules.starvation_turns})"
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
    """Select the occupant of `seat`; the reason mentions a probation and the owner of the seat."""
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
    """Return the seat that the member occupies, if any."""
    return next((seat for seat in roster.seats() if seat.occupant.agent_id == agent_id), None)


def least_recent_speaker(roster: Roster, candidates: tuple[AgentId, ...]) -> AgentId | None:
    """Apply the fallback rule: return the candidate that has waited longest; on a tie, the first in roster order."""
    able = [member for member in roster.active_members() if member.agent_id in candidates] or list(
        roster.active_members()
    )
    return min(able, key=lambda member: member.last_turn).agent_id if able else None


Policy = Callable[[Roster, Floor, ManagerConfigBase], Selection]

POLICIES: dict[type[ManagerConfigBase], Policy] = {RoundRobinConfig: select_round_robin, DynamicConfig: select_dynamic}


def select_speaker(roster: Roster, floor: Floor, rules: ManagerConfigBase) -> Selection:
    """Apply the policy of the manager configuration."""
    return POLICIES[type(rules)](roster, floor, rules)


def _last_seat_turn(roster: Roster, seat: Seat) -> int:
    """Return the last turn in which the seat's owner or occupant spoke or joined."""
    # A substitute does not inherit the owner's waiting time.
    owner = roster.get(seat.owner)
    return max(owner.last_turn, owner.joined_turn, seat.occupant.last_turn, seat.occupant.joined_turn)
