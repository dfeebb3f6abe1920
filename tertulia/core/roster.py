"""Who is in a conversation now. A roster is a value: a change (`changes.py`) gives a new one, with the next epoch.

Law: a member has one place in the rotation, its seat. While it is isolated, its stand-in sits there.
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
    """An agent as a conversation knows it."""

    agent_id: AgentId
    name: str


class Member(MemberRef):
    """One who is in the conversation, how it fares, and when it was last heard."""

    state: Literal["active", "muted", "standby"] = "active"
    """What operators want of it; `effective_state` is what comes of that."""
    joined_turn: NonNegativeInt = 0
    """The last turn that was taken before it joined."""
    last_turn: NonNegativeInt = 0
    """The turn in which it last had the floor; 0 = never yet."""
    turns: NonNegativeInt = 0
    """How many turns it has had."""
    health: Health = HEALTHY
    reserved_for: AgentId | None = None
    """For one on standby: it stands in for nobody else."""
    in_place_of: AgentId | None = None
    """For one on standby: the isolated member whose seat it has now."""
    usage: Usage = Usage()
    """What its turns have cost since it joined."""
    seconds: NonNegativeFloat = 0
    """How long its turns have taken since it joined."""
    has_concluded: Annotated[bool, wire_name("had_last_word")] = False
    """Whether it has concluded for itself, its budget being spent."""

    @property
    def effective_state(self) -> MemberState:
        """What `status` shows."""
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
    """The owner, or who stands in for it."""


class Manager(MemberRef):
    """An agent that may choose who speaks, and how it fares."""

    health: Health = HEALTHY

    @property
    def ref(self) -> MemberRef:
        return MemberRef(agent_id=self.agent_id, name=self.name)


class Roster(Record):
    """The members in their order, and who leads them."""

    epoch: NonNegativeInt = 0
    members: tuple[Member, ...] = ()
    managers: tuple[Manager, ...] = ()
    """The managing agent, then those that manage when it fails; empty where a rule manages."""

    def find(self, id_or_name: str) -> Member | None:
        """The member of that id, or else of that name, whatever its case."""
        by_id = next((member for member in self.members if member.agent_id == id_or_name), None)
        return by_id or next(
            (member for member in self.members if member.name.casefold() == id_or_name.casefold()), None
        )

    def find_manager(self, id_or_name: str) -> Manager | None:
        """The manager of that id or name."""
        return next(
            (
                one
                for one in self.managers
                if one.agent_id == id_or_name or one.name.casefold() == id_or_name.casefold()
            ),
            None,
        )

    def get(self, id_or_name: str) -> Member:
        """As `find`; refuses someone who is not here."""
        member = self.find(id_or_name)
        if member is None:
            names = ", ".join(member.name for member in self.members) or "nobody"
            raise CommandRefused(f"{id_or_name!r} is not a member of this conversation (members: {names})")
        return member

    def seats(self) -> tuple[Seat, ...]:
        """The seats of which somebody can speak, in order."""
        taken: list[Seat] = []
        for member in self.members:
            if member.state != "active":
                continue
            occupant = member if member.health.state != "isolated" else self.find_stand_in(member.agent_id)
            if occupant:
                taken.append(Seat(owner=member.agent_id, occupant=occupant))
        return tuple(taken)

    def active_members(self) -> tuple[Member, ...]:
        """Those who may be chosen to speak, in order."""
        return tuple(seat.occupant for seat in self.seats())

    def find_stand_in(self, agent_id: AgentId) -> Member | None:
        """Who has the seat of that isolated member."""
        return next((one for one in self.members if one.in_place_of == agent_id and _can_stand_in(one)), None)

    def find_free_standby(self, agent_id: AgentId) -> Member | None:
        """Who could stand in for that member: one reserved for it, or else any that is reserved for nobody."""
        free = [one for one in self.members if one.in_place_of is None and _can_stand_in(one)]
        reserved = (one for one in free if one.reserved_for == agent_id)
        return next(reserved, None) or next((one for one in free if one.reserved_for is None), None)

    def record_turn(
        self, agent_id: AgentId, turn: int, usage: Usage, seconds: float, *, concludes: bool = False
    ) -> "Roster":
        """The same roster after that member has had the floor; the epoch stays."""
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
