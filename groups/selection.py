"""Who speaks next. A policy is a pure function of the roster, the floor and the manager's rules; it looks nothing up.

A new kind of manager is one more function in `POLICIES` and its rules in `group.py`.
"""

from collections.abc import Callable
from typing import Literal

from groups.group import MAX_MEMBERS, Dynamic, ManagerRules, RoundRobin
from groups.ids import AgentId
from groups.model import Record
from groups.roster import Member, Roster

ChosenBy = Literal["round_robin", "manager", "fallback", "starvation"]


class Floor(Record):
    """Who has had the floor, as far as a policy needs it. Its size is bounded by the roster's."""

    turn: int = 0
    """The last turn taken."""
    last_speaker: AgentId | None = None
    lap: tuple[AgentId, ...] = ()
    """Who has spoken in the present lap of a rotation, members that left since included."""

    def after(self, speaker: AgentId, roster: Roster) -> "Floor":
        """The floor when `speaker` has had turn `turn + 1`.

        A lap ends when every active member has spoken in it, or with one who speaks in it again.
        """
        begun = () if speaker in self.lap else self.lap[-2 * MAX_MEMBERS :]
        lap = (*begun, speaker)
        finished = all(member.agent_id in lap for member in roster.active())
        return Floor(turn=self.turn + 1, last_speaker=speaker, lap=() if finished else lap)


class Speak(Record):
    """This member has the next turn."""

    agent_id: AgentId
    chosen_by: ChosenBy
    reason: str


class Ask(Record):
    """The manager shall choose among these."""

    candidates: tuple[AgentId, ...]


class Nobody(Record):
    """No member can speak."""


Selection = Speak | Ask | Nobody


def round_robin(roster: Roster, floor: Floor, rules: ManagerRules) -> Selection:
    """Everyone once a lap, in the roster's present order.

    Keyed by who has spoken in this lap, never by index: a change of members or of their order neither skips nor doubles
    anyone. A new lap does not begin with the member that ended the last one, unless it is alone.
    """
    active = roster.active()
    waiting = [member for member in active if member.agent_id not in floor.lap] or list(active)
    if not waiting:
        return Nobody()
    speaker = next((member for member in waiting if member.agent_id != floor.last_speaker), waiting[0])
    return Speak(agent_id=speaker.agent_id, chosen_by="round_robin", reason=_rotation_reason(speaker, floor, roster))


def dynamic(roster: Roster, floor: Floor, rules: ManagerRules) -> Selection:
    """The manager chooses among the active members, less the last speaker; a starving member goes before its choice."""
    assert isinstance(rules, Dynamic)
    active = roster.active()
    others = [member for member in active if rules.allow_repeated_speaker or member.agent_id != floor.last_speaker]
    candidates = others or list(active)
    if not candidates:
        return Nobody()
    hungriest = min(candidates, key=_unheard_since)
    unheard = floor.turn - _unheard_since(hungriest)
    if rules.starvation_turns is not None and unheard >= rules.starvation_turns:
        reason = f"unheard for {unheard} turns (starvation_turns = {rules.starvation_turns})"
        return Speak(agent_id=hungriest.agent_id, chosen_by="starvation", reason=reason)
    return Ask(candidates=tuple(member.agent_id for member in candidates))


def least_recently_heard(roster: Roster, candidates: tuple[AgentId, ...]) -> AgentId | None:
    """The fallback rule: of those candidates that can speak, who has waited longest; first in the order on a tie."""
    able = [member for member in roster.active() if member.agent_id in candidates] or list(roster.active())
    return min(able, key=lambda member: member.last_turn).agent_id if able else None


Policy = Callable[[Roster, Floor, ManagerRules], Selection]

POLICIES: dict[type[ManagerRules], Policy] = {RoundRobin: round_robin, Dynamic: dynamic}


def select(roster: Roster, floor: Floor, rules: ManagerRules) -> Selection:
    """Whom the group's manager lets speak next."""
    return POLICIES[type(rules)](roster, floor, rules)


def _unheard_since(member: Member) -> int:
    return max(member.last_turn, member.joined_turn)


def _rotation_reason(speaker: Member, floor: Floor, roster: Roster) -> str:
    last = roster.find(floor.last_speaker) if floor.last_speaker else None
    return f"next in rotation after {last.name}" if last else "next in rotation"
