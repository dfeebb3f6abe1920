"""What waits for the next turn boundary: changes of the roster, in the order in which they came.

Law: a change that waits can be made. It was checked against the roster as it will be once those before it are made.
"""

from tertulia.core.errors import CommandRefused
from tertulia.core.group import InFlight
from tertulia.core.ids import CommandId
from tertulia.core.roster import Roster
from tertulia.core.roster_changes import AnyRosterChange, MemberRemoved, MemberReplaced, apply_roster_change
from tertulia.core.state import ConversationState

AUTOMATIC_ID_PREFIX = "auto:"
"""How the ids of changes begin that are no operator's."""


def expected_roster(state: ConversationState) -> Roster:
    """The roster as it will be once every pending change is applied: what a further command is checked against."""
    return roster_after(state, state.pending_changes)


def roster_after(state: ConversationState, changes: tuple[AnyRosterChange, ...]) -> Roster:
    """The present roster after these changes."""
    roster = state.roster
    for change in changes:
        roster = apply_roster_change(roster, change, state.floor.turn)
    return roster


def automatic_command_id(state: ConversationState) -> CommandId:
    """The id of a change that the conversation makes by itself now."""
    return CommandId(f"{AUTOMATIC_ID_PREFIX}{state.roster.epoch + len(state.pending_changes) + 1}")


def enqueue_change(state: ConversationState, change: AnyRosterChange) -> ConversationState:
    """The state with that change waiting, unless what waits before it makes it impossible."""
    try:
        apply_roster_change(expected_roster(state), change, state.floor.turn)
    except CommandRefused:
        return state
    return state.model_copy(update={"pending_changes": (*state.pending_changes, change)})


def in_flight_policy(state: ConversationState) -> InFlight | None:
    """What shall become of the turn that is being taken, if its speaker is to leave with its words or its call."""
    chosen = state.round.chosen if state.round else None
    for change in state.pending_changes:
        if isinstance(change, MemberRemoved | MemberReplaced) and change.in_flight != "finish":
            if chosen and change.member.agent_id == chosen.member.agent_id:
                return change.in_flight
    return None
