"""Admission of commands: check each one, then refuse it with nothing changed or queue it and return a receipt.

Invariant: an admitted command cannot fail later. A roster change is checked against the roster that all changes
admitted before it lead to.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tertulia.core.base import Record, format_validation_error
from tertulia.core.commands import (
    AddMember,
    AnyCommand,
    MuteMember,
    Pause,
    PostMessage,
    Receipt,
    ReinstateMember,
    Rejection,
    RemoveMember,
    ReorderMembers,
    ReplaceMember,
    Resume,
    RosterCommand,
    Stop,
    UnmuteMember,
    UpdateSettings,
)
from tertulia.core.errors import CommandRefused, ConversationClosed, PendingLimitExceeded, truncate
from tertulia.core.group import GroupSettings, ManagerConfig
from tertulia.core.health import HEALTHY
from tertulia.core.ids import CommandId
from tertulia.core.pending_changes import AUTOMATIC_ID_PREFIX, expected_roster
from tertulia.core.roster import Member, MemberRef, Roster
from tertulia.core.roster_changes import (
    AnyRosterChange,
    ManagerHealthChanged,
    MemberAdded,
    MemberMuted,
    MemberReinstated,
    MemberRemoved,
    MemberReplaced,
    MembersReordered,
    MemberUnmuted,
    apply_roster_change,
)
from tertulia.core.state import (
    MAX_PENDING_BYTES,
    MAX_PENDING_CHANGES,
    RECENT_REJECTIONS,
    REMEMBERED_COMMANDS,
    ConversationState,
    Post,
    StopRequest,
)

_MANAGER_CONFIG_ADAPTER: TypeAdapter[ManagerConfig] = TypeAdapter(ManagerConfig)
_PENDING_ADAPTER: TypeAdapter[tuple[tuple[Post, ...], tuple[AnyRosterChange, ...]]] = TypeAdapter(
    tuple[tuple[Post, ...], tuple[AnyRosterChange, ...]]
)
# The managers are part of the roster, and another manager type has other fields: only the group can change these.
_IMMUTABLE_FIELDS = {"manager_type", "manager_agent_id", "fallback_manager_ids"}
_DETAIL_CHARS = 200

AdmittedCommand = tuple[ConversationState, Receipt]
"""The state with the command queued, and the command's receipt."""


def newcomer_of(command: AnyCommand) -> str | None:
    """Return the id or name of the agent that the command adds; it must be looked up in the database first."""
    match command:
        case AddMember(agent=id_or_name) | ReplaceMember(replacement=id_or_name):
            return id_or_name
        case _:
            return None


def admit(
    state: ConversationState,
    name: str,
    command: AnyCommand,
    command_id: CommandId,
    *,
    joining: MemberRef | None = None,
) -> AdmittedCommand:
    """Check `command` and queue it for the next turn boundary.

    Args:
        state: the current state.
        name: the command's name, as in `COMMANDS`.
        command: the parsed command.
        command_id: the command's own id, else the id of the update or signal.
        joining: the agent that `newcomer_of` names, as found in the database.

    Returns:
        The new state and the receipt. A repeated id changes nothing and returns its first receipt.

    Raises:
        CommandRefused: the command is impossible; the message gives the reason.
        PendingLimitExceeded: too much waits already.
        ConversationClosed: the conversation is closing or closed.
    """
    # First of all: a command that is sent again gets its receipt also when it would be refused by now.
    if first := state.receipts.get(command_id):
        return state, first
    if command_id.startswith(AUTOMATIC_ID_PREFIX):
        raise CommandRefused(f"command_id: the prefix {AUTOMATIC_ID_PREFIX!r} is reserved for automatic changes")
    if state.stop or state.phase in ("terminating", "closed"):
        raise ConversationClosed(f"conversation {state.conversation_id!r} is closed: {name} is not possible")
    # Names and settings are checked against the loaded group; posts need neither.
    if state.phase in ("initializing", "loading") and isinstance(command, RosterCommand | UpdateSettings):
        raise CommandRefused("the conversation is still loading its group; try again in a moment")
    admitted, detail, epoch = _admit_command(state, command, command_id, joining)
    receipt = Receipt(command_id=command_id, command=name, detail=truncate(detail, _DETAIL_CHARS), epoch=epoch)
    return admitted.model_copy(update={"receipts": _remember_receipt(admitted, receipt)}), receipt


def _remember_receipt(state: ConversationState, receipt: Receipt) -> dict[CommandId, Receipt]:
    """Return the receipts with `receipt` added and the oldest ones beyond the limit removed."""
    receipts = {**state.receipts, receipt.command_id: receipt}
    waiting = {post.message_id for post in state.pending_posts}
    waiting |= {change.command_id for change in state.pending_changes}
    # A receipt is kept while its command waits; otherwise the same id could be admitted twice.
    done = (command_id for command_id in state.receipts if command_id not in waiting)
    for oldest in list(islice(done, max(len(receipts) - REMEMBERED_COMMANDS, 0))):
        del receipts[oldest]
    return receipts


def record_rejection(state: ConversationState, name: str, command_id: str | None, reason: str) -> ConversationState:
    """Record that a signal was refused; `status` shows it, because a signal has no caller to answer."""
    shown_id = None if command_id is None else truncate(command_id, _DETAIL_CHARS)
    rejection = Rejection(command=name, command_id=shown_id, reason=truncate(reason))
    return state.model_copy(update={"rejected": (*state.rejected, rejection)[-RECENT_REJECTIONS:]})


def _admit_command(
    state: ConversationState, command: AnyCommand, command_id: CommandId, joining: MemberRef | None
) -> tuple[ConversationState, str, int | None]:
    match command:
        case PostMessage():
            return _admit_post(state, command, command_id)
        case UpdateSettings():
            return _update_settings(state, command), "the new settings apply from the next turn boundary", None
        case Pause(reason=reason):
            if state.paused_because is not None:
                raise CommandRefused("the conversation is already paused")
            return state.model_copy(update={"paused_because": reason}), "pauses at the next turn boundary", None
        case Resume():
            if state.paused_because is None and state.outage:
                # A time in the past makes the next probe due at once.
                outage = state.outage.model_copy(update={"next_probe_at": state.outage.since, "probe_requested": True})
                return state.model_copy(update={"outage": outage}), "a member is tried at once", None
            if state.paused_because is None:
                raise CommandRefused("the conversation is not paused")
            return state.model_copy(update={"paused_because": None}), "continues", None
        case Stop(reason=reason):
            stop = StopRequest(reason="operator_stop", explanation=reason or "an operator stopped the conversation")
            return state.model_copy(update={"stop": stop}), "closes at the next turn boundary", None
        case _:
            return _admit_roster_change(state, command, command_id, joining)


def _admit_post(
    state: ConversationState, post: PostMessage, command_id: CommandId
) -> tuple[ConversationState, str, int | None]:
    limit = state.settings.max_message_chars
    if not post.text.strip():
        raise CommandRefused("text: a message needs at least one visible character")
    if len(post.text) > limit:
        raise CommandRefused(f"text: {len(post.text)} characters; max_message_chars is {limit}")
    if expected_roster(state).find(post.sender):
        raise CommandRefused(f"sender: {post.sender!r} is a member's name; use another one")
    if len(state.pending_posts) >= state.settings.max_pending_messages:
        raise CommandRefused(
            f"{len(state.pending_posts)} messages wait already; max_pending_messages allows no more, try again later"
        )
    waiting = Post(message_id=command_id, sender=post.sender, text=post.text)
    _check_pending_size(state, waiting)
    pending = (*state.pending_posts, waiting)
    return state.model_copy(update={"pending_posts": pending}), "enters the transcript at the next turn boundary", None


def _check_pending_size(state: ConversationState, more: Record) -> None:
    # Measured as JSON, the form in which the state travels: a control character takes six bytes there.
    size = len(more.model_dump_json().encode())
    waiting = len(_PENDING_ADAPTER.dump_json((state.pending_posts, state.pending_changes)))
    if size + waiting > MAX_PENDING_BYTES:
        raise PendingLimitExceeded(
            f"{size} bytes do not fit: waiting messages and changes use {waiting} of {MAX_PENDING_BYTES} bytes; "
            "send less or try again later"
        )


def _update_settings(state: ConversationState, command: UpdateSettings) -> ConversationState:
    changes: dict[str, Any] = dict(command.model_extra or {})
    rules, settings = state.manager_config, state.settings
    known = (type(rules).model_fields.keys() | GroupSettings.model_fields.keys()) - _IMMUTABLE_FIELDS
    if not changes:
        raise CommandRefused(f"no setting is given; available: {_join_names(known)}")
    if unknown := [name for name in changes if name not in known]:
        raise CommandRefused(f"{_join_names(unknown)}: no such setting; available: {_join_names(known)}")
    of_rules = {name: value for name, value in changes.items() if name in type(rules).model_fields}
    of_settings = {name: value for name, value in changes.items() if name in GroupSettings.model_fields}
    try:
        return state.model_copy(
            update={
                "manager_config": _MANAGER_CONFIG_ADAPTER.validate_python({**rules.model_dump(), **of_rules}),
                "settings": GroupSettings.model_validate({**settings.model_dump(), **of_settings}),
            }
        )
    except ValidationError as error:
        raise CommandRefused(format_validation_error(error)) from error


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _admit_roster_change(
    state: ConversationState, command: RosterCommand, command_id: CommandId, joining: MemberRef | None
) -> tuple[ConversationState, str, int | None]:
    if len(state.pending_changes) >= MAX_PENDING_CHANGES:
        raise PendingLimitExceeded(f"{MAX_PENDING_CHANGES} roster changes wait already; try again later")
    if joining and joining.agent_id in getattr(state.manager_config, "manager_ids", ()):
        raise CommandRefused(f"{joining.name!r} manages this conversation and cannot be a member")
    change = _resolve_change(state, command, command_id, joining)
    before = expected_roster(state)
    roster = apply_roster_change(before, change, state.floor.turn)
    _check_pending_size(state, change)
    admitted = state.model_copy(update={"pending_changes": (*state.pending_changes, change)})
    names = ", ".join(member.name for member in roster.members) or "nobody"
    detail = f"at the next turn boundary: {names}"
    if _has_active_member(before) and not _has_active_member(roster):
        detail = f"warning: no active member remains, so nobody can speak; {detail}"
    return admitted, detail, roster.epoch


def _has_active_member(roster: Roster) -> bool:
    return any(member.state == "active" for member in roster.members)


def _resolve_change(
    state: ConversationState, command: RosterCommand, command_id: CommandId, joining: MemberRef | None
) -> AnyRosterChange:
    roster = expected_roster(state)
    match command:
        case AddMember():
            assert joining is not None
            return MemberAdded(
                command_id=command_id,
                member=joining,
                position=command.position,
                state=command.state,
                catch_up=command.catch_up or state.settings.catch_up,
                reserved_for=roster.get(command.stands_in_for).agent_id if command.stands_in_for else None,
            )
        case ReplaceMember():
            assert joining is not None
            return MemberReplaced(
                command_id=command_id,
                member=roster.get(command.agent).ref,
                replacement=joining,
                catch_up=command.catch_up or state.settings.catch_up,
                in_flight=command.in_flight or state.settings.in_flight,
            )
        case RemoveMember():
            in_flight = command.in_flight or state.settings.in_flight
            return MemberRemoved(command_id=command_id, member=roster.get(command.agent).ref, in_flight=in_flight)
        case MuteMember():
            return MemberMuted(command_id=command_id, member=roster.get(command.agent).ref)
        case UnmuteMember():
            return MemberUnmuted(command_id=command_id, member=roster.get(command.agent).ref)
        case ReinstateMember():
            if manager := roster.find_manager(command.agent):
                return ManagerHealthChanged(command_id=command_id, manager=manager.ref, health=HEALTHY)
            return MemberReinstated(command_id=command_id, member=roster.get(command.agent).ref)
        case ReorderMembers():
            return MembersReordered(
                command_id=command_id, order=_member_ids(roster.get(id_or_name) for id_or_name in command.agents)
            )


def _member_ids(members: Iterable[Member]) -> Sequence[Any]:
    return tuple(member.agent_id for member in members)
