"""Roster changes that wait for the next turn boundary, in the order received.

Invariant: a waiting change is possible: it was checked against the roster that the changes before it lead to.
"""

from tertulia.core.errors import CommandRefused
from tertulia.core.group import InFlight
from tertulia.core.ids import CommandId
from tertulia.core.roster import Roster
from tertulia.core.roster_changes import AnyRosterChange, MemberRemoved, MemberReplaced, apply_roster_change
from tertulia.core.state import ConversationState

AUTOMATIC_ID_PREFIX = "auto:"
"""Prefix of the command ids of automatic changes."""


def expected_roster(state: ConversationState) -> Roster:
    """Return the roster after all pending changes; further commands are checked against it."""
    return roster_after(state, state.pending_changes)


def roster_after(state: ConversationState, changes: tuple[AnyRosterChange, ...]) -> Roster:
    """Return the current roster after `changes`."""
    roster = state.roster
    for change in changes:
        roster = apply_roster_change(roster, change, state.floor.turn)
    return roster


def automatic_command_id(state: ConversationState) -> CommandId:
    """Return the command id of the next automatic change."""
    # The epoch to which the change leads is unique within the conversation.
    return CommandId(f"{AUTOMATIC_ID_PREFIX}{state.roster.epoch + len(state.pending_changes) + 1}")


def enqueue_change(state: ConversationState, change: AnyRosterChange) -> ConversationState:
    """Append a change to the pending ones; return `state` if it is impossible after them."""
    try:
        apply_roster_change(expected_roster(state), change, state.floor.turn)
    except CommandRefused:
        # A command was admitted first, for example the removal of the member.
        return state
    return state.model_copy(update={"pending_changes": (*state.pending_changes, change)})


def in_flight_policy(state: ConversationState) -> InFlight | None:
    """Return the in-flight policy if the current speaker is pending removal, else None."""
    chosen = state.round.chosen if state.round else None
    for change in state.pending_changes:
        if isinstance(change, MemberRemoved | MemberReplaced) and change.in_flight != "finish":
            if chosen and change.member.agent_id == chosen.member.agent_id:
                return change.in_flight
    return None
