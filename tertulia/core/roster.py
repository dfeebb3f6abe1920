"""Rosters: the members and managers of a conversation. A roster is immutable; each change returns a new one.

Invariant: a member has one place in the rotation, its seat. While it is isolated, its stand-in occupies the seat.
"""

from typing import Annotated, Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from tertulia.core.base import Record, wire_name
from tertulia.core.errors import CommandRefused
from tertulia.core.health import HEALTHY, Health
from tertulia.core.ids import AgentId
from tertulia.core.usage import Usage

MemberState = Literal["active", "muted", "standby", "isolated"]


class MemberRef(Record):
    """Id and name of an agent in a conversation."""

    agent_id: AgentId
    name: str


class Member(MemberRef):
    """A member with its state, health and counters."""

    state: Literal["active", "muted", "standby"] = "active"
    """State set by operators; `effective_state` includes health."""
    joined_turn: NonNegativeInt = 0
    """Last turn before it joined."""
    last_turn: NonNegativeInt = 0
    """Its last turn; 0 = none yet."""
    turns: NonNegativeInt = 0
    """Number of its turns."""
    health: Health = HEALTHY
    reserved_for: AgentId | None = None
    """On standby: the only member it stands in for; None = any member."""
    in_place_of: AgentId | None = None
    """On standby: the isolated member whose seat it occupies; None = it is free."""
    usage: Usage = Usage()
    """Usage of its turns since it joined."""
    seconds: NonNegativeFloat = 0
    """Wall time of its turns since it joined, in seconds."""
    has_concluded: Annotated[bool, wire_name("had_last_word")] = False
    """It has taken the concluding turn of its spent budget."""

    @property
    def effective_state(self) -> MemberState:
        """The state shown by `status`."""
        if self.health.state == "isolated":
            return "isolated" if self.state != "muted" else "muted"
        return "active" if self.in_place_of and self.state == "standby" else self.state

    @property
    def ref(self) -> MemberRef:
        return MemberRef(agent_id=self.agent_id, name=self.name)


class Seat(Record):
    """A place in the rotation."""

    owner: AgentId
    occupant: Member
    """The owner, or its stand-in."""


class Manager(MemberRef):
    """An agent that chooses speakers, with its health."""

    health: Health = HEALTHY

    @property
    def ref(self) -> MemberRef:
        return MemberRef(agent_id=self.agent_id, name=self.name)


class Roster(Record):
    """Members in order, and managers."""

    epoch: NonNegativeInt = 0
    members: tuple[Member, ...] = ()
    managers: tuple[Manager, ...] = ()
    """The managing agent, then its fallbacks; empty for a group managed by a rule."""

    def find(self, id_or_name: str) -> Member | None:
        """Return the member with this id, else with this name regardless of case, else None."""
        by_id = next((member for member in self.members if member.agent_id == id_or_name), None)
        return by_id or next(
            (member for member in self.members if member.name.casefold() == id_or_name.casefold()), None
        )

    def find_manager(self, id_or_name: str) -> Manager | None:
        """Return the manager with this id or name, else None."""
        return next(
            (
                manager
                for manager in self.managers
                if manager.agent_id == id_or_name or manager.name.casefold() == id_or_name.casefold()
            ),
            None,
        )

    def get(self, id_or_name: str) -> Member:
        """Return the member with this id or name.

        Raises:
            CommandRefused: no such member.
        """
        member = self.find(id_or_name)
        if member is None:
            names = ", ".join(member.name for member in self.members) or "nobody"
            raise CommandRefused(f"{id_or_name!r} is not a member of this conversation (members: {names})")
        return member

    def seats(self) -> tuple[Seat, ...]:
        """Return the seats whose occupant can speak, in order."""
        taken: list[Seat] = []
        for member in self.members:
            if member.state != "active":
                continue
            occupant = member if member.health.state != "isolated" else self.find_stand_in(member.agent_id)
            if occupant:
                taken.append(Seat(owner=member.agent_id, occupant=occupant))
        return tuple(taken)

    def active_members(self) -> tuple[Member, ...]:
        """Return the members that can be chosen to speak, in order."""
        return tuple(seat.occupant for seat in self.seats())

    def find_stand_in(self, agent_id: AgentId) -> Member | None:
        """Return the member that occupies the seat of this isolated member, if any."""
        return next(
            (member for member in self.members if member.in_place_of == agent_id and _can_stand_in(member)), None
        )

    def find_free_standby(self, agent_id: AgentId) -> Member | None:
        """Return a free member on standby: one reserved for this member, else one reserved for none."""
        free = [member for member in self.members if member.in_place_of is None and _can_stand_in(member)]
        reserved = (member for member in free if member.reserved_for == agent_id)
        return next(reserved, None) or next((member for member in free if member.reserved_for is None), None)

    def record_turn(
        self, agent_id: AgentId, turn: int, usage: Usage, seconds: float, *, concludes: bool = False
    ) -> "Roster":
        """Return the roster with the member's counters after its turn; the epoch stays."""
        members = list(self.members)
        for index, member in enumerate(members):
            if member.agent_id == agent_id:
                update = {
                    "last_turn": turn,
                    "turns": member.turns + 1,
                    "usage": member.usage + usage,
                    "seconds": member.seconds + seconds,
                    "has_concluded": member.has_concluded or concludes,
                }
                members[index] = member.model_copy(update=update)
        return self.model_copy(update={"members": tuple(members)})


def _can_stand_in(member: Member) -> bool:
    return member.state == "standby" and member.health.state != "isolated"
