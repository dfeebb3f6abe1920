"""Who is in a conversation now, and how that changes.

A roster is a value: a change gives a new one, with the next epoch.
"""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from groups.errors import CommandRefused
from groups.group import MAX_MEMBERS, CatchUp
from groups.ids import AgentId, CommandId
from groups.model import Record

MemberState = Literal["active", "muted", "standby", "isolated"]


class MemberRef(Record):
    """An agent as a conversation knows it."""

    agent_id: AgentId
    name: str


class Member(MemberRef):
    """One who is in the conversation, and when it was last heard."""

    state: MemberState = "active"
    joined_turn: NonNegativeInt = 0
    """The last turn that was taken before it joined."""
    last_turn: NonNegativeInt = 0
    """The turn in which it last had the floor; 0 = never yet."""
    turns: NonNegativeInt = 0
    """How many turns it has had."""


class Roster(Record):
    """The members in their order."""

    epoch: NonNegativeInt = 0
    members: tuple[Member, ...] = ()

    def find(self, who: str) -> Member | None:
        """The member of that id, or else of that name, whatever its case."""
        by_id = next((member for member in self.members if member.agent_id == who), None)
        return by_id or next((member for member in self.members if member.name.casefold() == who.casefold()), None)

    def get(self, who: str) -> Member:
        """As `find`; refuses someone who is not here."""
        member = self.find(who)
        if member is None:
            here = ", ".join(member.name for member in self.members) or "nobody"
            raise CommandRefused(f"{who!r} is not a member of this conversation (members: {here})")
        return member

    def active(self) -> tuple[Member, ...]:
        """Those who may be chosen to speak, in order."""
        return tuple(member for member in self.members if member.state == "active")

    def with_turn(self, agent_id: AgentId, turn: int) -> "Roster":
        """The same roster after that member has had the floor; the epoch stays."""
        return self.model_copy(
            update={
                "members": tuple(
                    member.model_copy(update={"last_turn": turn, "turns": member.turns + 1})
                    if member.agent_id == agent_id
                    else member
                    for member in self.members
                )
            }
        )


class RosterChange(Record):
    """Something that happened to a roster, with every name resolved. Kept in the audit under its epoch."""

    command_id: CommandId

    def changed(self, members: list[Member], turn: int) -> list[Member]:
        """The members after this change; refuses what cannot be, without having changed anything."""
        raise NotImplementedError

    def headline(self) -> str:
        """The change in a few words, for a reader."""
        raise NotImplementedError


class MemberAdded(RosterChange):
    kind: Literal["add"] = "add"
    member: MemberRef
    position: NonNegativeInt | None = None
    """Index in the order; without it, last."""
    state: Literal["active", "muted", "standby"] = "active"
    catch_up: CatchUp = "full"

    def headline(self) -> str:
        return f"{self.member.name} joins"

    def changed(self, members: list[Member], turn: int) -> list[Member]:
        _refuse_namesake(members, self.member)
        if len(members) >= MAX_MEMBERS:
            raise CommandRefused(f"a conversation has {MAX_MEMBERS} members at most")
        joined = Member(**self.member.model_dump(), state=self.state, joined_turn=turn)
        at = len(members) if self.position is None else self.position
        return [*members[:at], joined, *members[at:]]


class MemberRemoved(RosterChange):
    kind: Literal["remove"] = "remove"
    member: MemberRef

    def headline(self) -> str:
        return f"{self.member.name} leaves"

    def changed(self, members: list[Member], turn: int) -> list[Member]:
        index = _index(members, self.member)
        return members[:index] + members[index + 1 :]


class MemberReplaced(RosterChange):
    kind: Literal["replace"] = "replace"
    member: MemberRef
    replacement: MemberRef
    """Takes the member's place in the order, active whatever the other's state was."""
    catch_up: CatchUp = "full"

    def headline(self) -> str:
        return f"{self.replacement.name} takes the place of {self.member.name}"

    def changed(self, members: list[Member], turn: int) -> list[Member]:
        index = _index(members, self.member)
        others = members[:index] + members[index + 1 :]
        _refuse_namesake(others, self.replacement)
        joined = Member(**self.replacement.model_dump(), joined_turn=turn)
        return [*members[:index], joined, *members[index + 1 :]]


class MembersReordered(RosterChange):
    kind: Literal["reorder"] = "reorder"
    order: tuple[AgentId, ...]

    def headline(self) -> str:
        return "a new order"

    def changed(self, members: list[Member], turn: int) -> list[Member]:
        by_id = {member.agent_id: member for member in members}
        if len(self.order) != len(by_id) or set(self.order) != set(by_id):
            names = ", ".join(member.name for member in members)
            raise CommandRefused(f"agents: the new order must name every member once (members: {names})")
        return [by_id[agent_id] for agent_id in self.order]


class MemberMuted(RosterChange):
    kind: Literal["mute"] = "mute"
    member: MemberRef

    def headline(self) -> str:
        return f"{self.member.name} is muted"

    def changed(self, members: list[Member], turn: int) -> list[Member]:
        return _with_state(members, self.member, "muted")


class MemberUnmuted(RosterChange):
    kind: Literal["unmute"] = "unmute"
    member: MemberRef

    def headline(self) -> str:
        return f"{self.member.name} may speak again"

    def changed(self, members: list[Member], turn: int) -> list[Member]:
        state = members[_index(members, self.member)].state
        if state != "muted":
            raise CommandRefused(f"{self.member.name!r} is not muted (its state is {state})")
        return _with_state(members, self.member, "active")


AnyRosterChange = Annotated[
    MemberAdded | MemberRemoved | MemberReplaced | MembersReordered | MemberMuted | MemberUnmuted,
    Field(discriminator="kind"),
]


def changed_roster(roster: Roster, change: AnyRosterChange, turn: int) -> Roster:
    """The roster after `change`, one epoch on.

    Raises:
        CommandRefused: the change cannot be made; `roster` is as it was.
    """
    members = change.changed(list(roster.members), turn)
    return Roster(epoch=roster.epoch + 1, members=tuple(members))


def _index(members: list[Member], who: MemberRef) -> int:
    for index, member in enumerate(members):
        if member.agent_id == who.agent_id:
            return index
    raise CommandRefused(f"{who.name!r} is not a member of this conversation any more")


def _refuse_namesake(members: list[Member], newcomer: MemberRef) -> None:
    for member in members:
        if member.agent_id == newcomer.agent_id:
            raise CommandRefused(f"{newcomer.name!r} is already a member")
        if member.name.casefold() == newcomer.name.casefold():
            raise CommandRefused(f"another member ({member.agent_id!r}) already bears the name {newcomer.name!r}")


def _with_state(members: list[Member], who: MemberRef, state: MemberState) -> list[Member]:
    index = _index(members, who)
    if members[index].state == state:
        raise CommandRefused(f"{who.name!r} is already {state}")
    members[index] = members[index].model_copy(update={"state": state})
    return members
