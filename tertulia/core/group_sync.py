"""Merge changes of a group into its open conversations.

Invariant: a conversation adopts what the group has changed since it last read the group, and keeps what was changed in
the conversation itself. A revision that is not newer changes nothing.
"""

from collections.abc import Sequence
from typing import Literal, TypeVar

from pydantic import BaseModel

from tertulia.core.admission import record_rejection
from tertulia.core.errors import CommandRefused
from tertulia.core.events import ConversationLoaded, GroupLoaded
from tertulia.core.group import Standby
from tertulia.core.ids import AgentId, CommandId
from tertulia.core.pending_changes import AUTOMATIC_ID_PREFIX, expected_roster
from tertulia.core.roster import Manager, Roster
from tertulia.core.roster_changes import (
    AnyRosterChange,
    MemberAdded,
    MemberRemoved,
    MembersReordered,
    apply_roster_change,
)
from tertulia.core.state import ConversationState, GroupBaseline

_Model = TypeVar("_Model", bound=BaseModel)


def build_baseline(event: ConversationLoaded | GroupLoaded) -> GroupBaseline:
    """Return the group as read, for comparison with later revisions."""
    on_standby = {one.agent_id for one in event.standby}
    return GroupBaseline(
        revision=event.revision,
        agent_ids=tuple(one.agent_id for one in event.members if one.agent_id not in on_standby),
        standby=event.standby,
        manager_config=event.manager_config,
        settings=event.settings,
    )


def record_group_revision(state: ConversationState, revision: int) -> ConversationState:
    """Record that the group has this revision; an older one changes nothing."""
    return state.model_copy(update={"notified_revision": max(state.notified_revision, revision)})


def merge_group_changes(state: ConversationState, event: GroupLoaded) -> ConversationState:
    """Merge the changed settings and manager configuration, and enqueue the changes of members."""
    before, now = state.baseline, build_baseline(event)
    assert before is not None
    if now.revision <= before.revision:
        return state.model_copy(update={"notified_revision": before.revision})
    known = {manager.agent_id: manager for manager in state.roster.managers}
    managers = tuple(known.get(ref.agent_id) or Manager(**ref.model_dump()) for ref in event.managers)
    state = state.model_copy(
        update={
            "baseline": now,
            "group_name": event.group_name,
            "description": event.description,
            "settings": _merge_fields(state.settings, before.settings, now.settings),
            "manager_config": _merge_fields(state.manager_config, before.manager_config, now.manager_config),
            "roster": state.roster.model_copy(update={"managers": managers}),
        }
    )
    return _enqueue_member_changes(state, before, now, event)


def _merge_fields(own: _Model, before: _Model, now: _Model) -> _Model:
    """Return `own` with the value of `now` in each field that differs between `before` and `now`."""
    if type(own) is not type(now):
        return now
    names = type(now).model_fields
    changed = {name: getattr(now, name) for name in names if getattr(now, name) != getattr(before, name)}
    return own.model_copy(update=changed)


def _enqueue_member_changes(
    state: ConversationState, before: GroupBaseline, now: GroupBaseline, event: GroupLoaded
) -> ConversationState:
    refs = {one.agent_id: one for one in event.members}
    order = [*now.agent_ids, *(one.agent_id for one in now.standby)]
    seats_before, seats_now = _group_seats(before), _group_seats(now)
    # A changed role (active or standby) is a removal and an addition: no roster change converts the roles.
    gone = [agent_id for agent_id, seat in seats_before.items() if seats_now.get(agent_id) != seat]
    new = [agent_id for agent_id in order if seats_before.get(agent_id) != seats_now[agent_id]]
    for agent_id in gone:
        if member := expected_roster(state).find(agent_id):
            state = _enqueue_or_reject(state, now, MemberRemoved(command_id=CommandId(""), member=member.ref))
    for agent_id in new:
        roster = expected_roster(state)
        # An agent that was deleted after the group was read has no reference.
        if agent_id in refs and roster.find(agent_id) is None:
            on_standby = next((one for one in now.standby if one.agent_id == agent_id), None)
            joining = MemberAdded(
                command_id=CommandId(""),
                member=refs[agent_id],
                position=_insert_position(roster, order, agent_id),
                state="standby" if on_standby else "active",
                catch_up=state.settings.catch_up,
                reserved_for=on_standby.stands_in_for if on_standby else None,
            )
            state = _enqueue_or_reject(state, now, joining)
    return _enqueue_reorder(state, before, now)


def _group_seats(base: GroupBaseline) -> dict[AgentId, Standby | Literal["active"]]:
    """Return the role of each member of the group: `active`, or its standby entry."""
    return {**dict.fromkeys(base.agent_ids, "active"), **{one.agent_id: one for one in base.standby}}


def _insert_position(roster: Roster, order: Sequence[AgentId], agent_id: AgentId) -> int:
    """Return the index after the nearest predecessor in the group's order that is in the roster."""
    here = [one.agent_id for one in roster.members]
    before = [one for one in order[: order.index(agent_id)] if one in here]
    return here.index(before[-1]) + 1 if before else 0


def _enqueue_reorder(state: ConversationState, before: GroupBaseline, now: GroupBaseline) -> ConversationState:
    """Enqueue the group's new order for its members; members added by command keep their positions."""
    stayed = [agent_id for agent_id in before.agent_ids if agent_id in now.agent_ids]
    if stayed == [agent_id for agent_id in now.agent_ids if agent_id in before.agent_ids]:
        return state
    here = [one.agent_id for one in expected_roster(state).members]
    in_order = iter([agent_id for agent_id in now.agent_ids if agent_id in here])
    order = tuple(next(in_order) if agent_id in now.agent_ids else agent_id for agent_id in here)
    if order == tuple(here):
        return state
    return _enqueue_or_reject(state, now, MembersReordered(command_id=CommandId(""), order=order))


def _enqueue_or_reject(state: ConversationState, now: GroupBaseline, change: AnyRosterChange) -> ConversationState:
    """Enqueue a change; record it as a rejection if it is impossible."""
    epoch = state.roster.epoch + len(state.pending_changes) + 1
    command_id = CommandId(f"{AUTOMATIC_ID_PREFIX}group-{now.revision}-{epoch}")
    change = change.model_copy(update={"command_id": command_id})
    try:
        apply_roster_change(expected_roster(state), change, state.floor.turn)
    except CommandRefused as refusal:
        return record_rejection(state, "group_changed", command_id, str(refusal))
    return state.model_copy(update={"pending_changes": (*state.pending_changes, change)})
