"""Roster changes: by commands, or automatic ones after failures and recoveries.

Invariant: every change has an epoch, an id and a description, and is kept in the audit. An impossible change is refused
with nothing changed.
"""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from tertulia.core.base import Record
from tertulia.core.errors import CommandRefused
from tertulia.core.group import MAX_MEMBERS, CatchUp, InFlight
from tertulia.core.health import HEALTHY, Health
from tertulia.core.ids import AgentId, CommandId
from tertulia.core.roster import Manager, Member, MemberRef, Roster


class RosterChange(Record):
    """Base of roster changes, with all names resolved."""

    command_id: CommandId

    def apply(self, roster: Roster, turn: int) -> Roster:
        """Return the roster after this change, with the next epoch.

        Args:
            roster: the roster before.
            turn: last turn taken; new members count from it.

        Raises:
            CommandRefused: the change is impossible.
        """
        members = tuple(self.apply_to_members(list(roster.members), turn))
        return roster.model_copy(update={"epoch": roster.epoch + 1, "members": members})

    def apply_to_members(self, members: list[Member], turn: int) -> list[Member]:
        """Return the members after this change."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return a short description for readers."""
        raise NotImplementedError


class MemberAdded(RosterChange):
    kind: Literal["add"] = "add"
    member: MemberRef
    position: NonNegativeInt | None = None
    """Index in the order; None = last."""
    state: Literal["active", "muted", "standby"] = "active"
    catch_up: CatchUp = "full"
    reserved_for: AgentId | None = None

    def describe(self) -> str:
        return f"{self.member.name} joins" + (" on standby" if self.state == "standby" else "")

    def apply_to_members(self, members: list[Member], turn: int) -> list[Member]:
        _reject_duplicate(members, self.member)
        if len(members) >= MAX_MEMBERS:
            raise CommandRefused(f"a conversation can have at most {MAX_MEMBERS} members")
        joined = Member(**self.member.model_dump(), state=self.state, joined_turn=turn, reserved_for=self.reserved_for)
        at = len(members) if self.position is None else self.position
        return [*members[:at], joined, *members[at:]]


class MemberRemoved(RosterChange):
    kind: Literal["remove"] = "remove"
    member: MemberRef
    in_flight: InFlight = "finish"

    def describe(self) -> str:
        return f"{self.member.name} leaves"

    def apply_to_members(self, members: list[Member], turn: int) -> list[Member]:
        index = _index_of(members, self.member)
        return _release_stand_in(members[:index] + members[index + 1 :], self.member.agent_id)


class MemberReplaced(RosterChange):
    kind: Literal["replace"] = "replace"
    member: MemberRef
    replacement: MemberRef
    """Takes the member's position; active, whatever the member's state was."""
    catch_up: CatchUp = "full"
    in_flight: InFlight = "finish"

    def describe(self) -> str:
        return f"{self.replacement.name} takes the place of {self.member.name}"

    def apply_to_members(self, members: list[Member], turn: int) -> list[Member]:
        index = _index_of(members, self.member)
        others = members[:index] + members[index + 1 :]
        _reject_duplicate(others, self.replacement)
        joined = Member(**self.replacement.model_dump(), joined_turn=turn)
        return _release_stand_in([*members[:index], joined, *members[index + 1 :]], self.member.agent_id)


class MembersReordered(RosterChange):
    kind: Literal["reorder"] = "reorder"
    order: tuple[AgentId, ...]

    def describe(self) -> str:
        return "the order changes"

    def apply_to_members(self, members: list[Member], turn: int) -> list[Member]:
        by_id = {member.agent_id: member for member in members}
        if len(self.order) != len(by_id) or set(self.order) != set(by_id):
            names = ", ".join(member.name for member in members)
            raise CommandRefused(f"agents: the new order must name every member once (members: {names})")
        return [by_id[agent_id] for agent_id in self.order]


class MemberMuted(RosterChange):
    kind: Literal["mute"] = "mute"
    member: MemberRef
    reason: str = ""
    """Reason of an automatic mute; empty = by a command."""

    def describe(self) -> str:
        return f"{self.member.name} is muted" + (f": {self.reason}" if self.reason else "")

    def apply_to_members(self, members: list[Member], turn: int) -> list[Member]:
        index = _index_of(members, self.member)
        if members[index].state == "muted":
            raise CommandRefused(f"{self.member.name!r} is already muted")
        return _release_stand_in(_update_member(members, index, state="muted", in_place_of=None), self.member.agent_id)


class MemberUnmuted(RosterChange):
    kind: Literal["unmute"] = "unmute"
    member: MemberRef

    def describe(self) -> str:
        return f"{self.member.name} is active"

    def apply_to_members(self, members: list[Member], turn: int) -> list[Member]:
        index = _index_of(members, self.member)
        if members[index].state == "active":
            hint = "; reinstate_member ends its isolation" if members[index].effective_state == "isolated" else ""
            raise CommandRefused(
                f"{self.member.name!r} is not muted (its state is {members[index].effective_state}){hint}"
            )
        return _update_member(members, index, state="active", in_place_of=None, reserved_for=None)


class MemberReinstated(RosterChange):
    kind: Literal["reinstate"] = "reinstate"
    member: MemberRef

    def describe(self) -> str:
        return f"{self.member.name} is reinstated"

    def apply_to_members(self, members: list[Member], turn: int) -> list[Member]:
        index = _index_of(members, self.member)
        if members[index].health.state == "healthy":
            raise CommandRefused(f"{self.member.name!r} is healthy; there is nothing to reinstate")
        return _release_stand_in(_update_member(members, index, health=HEALTHY), self.member.agent_id)


class MemberHealthChanged(RosterChange):
    """The health of a member changed."""

    kind: Literal["health"] = "health"
    member: MemberRef
    health: Health
    stand_in: MemberRef | None = None
    """Member that occupies its seat while it is isolated."""

    def describe(self) -> str:
        return _describe_health(self.member.name, self.health, self.stand_in)

    def apply_to_members(self, members: list[Member], turn: int) -> list[Member]:
        members = _update_member(members, _index_of(members, self.member), health=self.health)
        if self.health.state == "isolated":
            members = _update_member(members, _index_of(members, self.member), in_place_of=None)
        if self.stand_in is None or self.health.state != "isolated":
            return _release_stand_in(members, self.member.agent_id)
        return _update_member(members, _index_of(members, self.stand_in), in_place_of=self.member.agent_id)


class ManagerHealthChanged(RosterChange):
    """The health of a managing agent changed."""

    kind: Literal["manager_health"] = "manager_health"
    manager: MemberRef
    health: Health

    def describe(self) -> str:
        return f"the manager {_describe_health(self.manager.name, self.health, None)}"

    def apply(self, roster: Roster, turn: int) -> Roster:
        before = roster.find_manager(self.manager.agent_id)
        if before and before.health == self.health:
            raise CommandRefused(f"{self.manager.name!r} is healthy; there is nothing to reinstate")
        managers = [one for one in roster.managers if one.agent_id != self.manager.agent_id]
        index = next(
            (i for i, one in enumerate(roster.managers) if one.agent_id == self.manager.agent_id), len(managers)
        )
        managers.insert(index, Manager(**self.manager.model_dump(), health=self.health))
        return roster.model_copy(update={"epoch": roster.epoch + 1, "managers": tuple(managers)})


AnyRosterChange = Annotated[
    MemberAdded
    | MemberRemoved
    | MemberReplaced
    | MembersReordered
    | MemberMuted
    | MemberUnmuted
    | MemberReinstated
    | MemberHealthChanged
    | ManagerHealthChanged,
    Field(discriminator="kind"),
]


def apply_roster_change(roster: Roster, change: AnyRosterChange, turn: int) -> Roster:
    """Return the roster after `change`, with the next epoch.

    Raises:
        CommandRefused: the change is impossible.
    """
    return change.apply(roster, turn)


def _describe_health(name: str, health: Health, stand_in: MemberRef | None) -> str:
    because = f": {health.reason}" if health.reason else ""
    match health.state:
        case "suspect":
            return f"{name} is suspect{because}"
        case "isolated":
            substitute = f"; {stand_in.name} stands in" if stand_in else ""
            return f"{name} is isolated{because}{substitute}"
        case "probation":
            return f"{name} is tried again{because}"
        case "healthy":
            return f"{name} is healthy again"


def _index_of(members: list[Member], ref: MemberRef) -> int:
    for index, member in enumerate(members):
        if member.agent_id == ref.agent_id:
            return index
    raise CommandRefused(f"{ref.name!r} is not a member of this conversation any more")


def _reject_duplicate(members: list[Member], newcomer: MemberRef) -> None:
    for member in members:
        if member.agent_id == newcomer.agent_id:
            raise CommandRefused(f"{newcomer.name!r} is already a member")
        if member.name.casefold() == newcomer.name.casefold():
            raise CommandRefused(f"another member ({member.agent_id!r}) has the name {newcomer.name!r} already")


def _update_member(members: list[Member], index: int, **update: object) -> list[Member]:
    return [*members[:index], members[index].model_copy(update=update), *members[index + 1 :]]


def _release_stand_in(members: list[Member], agent_id: AgentId) -> list[Member]:
    """Return the members with the stand-in of `agent_id` freed."""
    return [
        member.model_copy(update={"in_place_of": None}) if member.in_place_of == agent_id else member
        for member in members
    ]
