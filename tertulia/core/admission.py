"""Where commands come in: each is checked, and either refused with nothing changed or taken in with a receipt.

Law: what the door has accepted cannot fail later. A change of members is checked against the roster as it will be once
all changes accepted before it are applied.
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
from tertulia.core.roster import Member, MemberRef
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
_IMMUTABLE_FIELDS = {"manager_type", "manager_agent_id", "fallback_manager_ids"}
_DETAIL_CHARS = 200

AdmittedCommand = tuple[ConversationState, Receipt]


def newcomer_of(command: AnyCommand) -> str | None:
    """The agent, by id or name, whom the command brings in and whom only the database knows."""
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
    """Take `command` in.

    Args:
        state: the conversation now.
        name: the command's name, as in `COMMANDS`.
        command: what is asked.
        command_id: the command's own id, or the one its carrier gave it.
        joining: the agent that `newcomer_of` named, found in the database.

    Returns:
        The state with the command taken in, and the receipt. A repeated id changes nothing and gets its first receipt.

    Raises:
        CommandRefused: it cannot be taken; the message says why.
        ConversationClosed: the conversation is closing or closed.
    """
    if first := state.receipts.get(command_id):
        return state, first
    if command_id.startswith(AUTOMATIC_ID_PREFIX):
        raise CommandRefused(f"command_id: ids that begin with {AUTOMATIC_ID_PREFIX!r} are the conversation's own")
    if state.stop or state.phase in ("terminating", "closed"):
        raise ConversationClosed(f"conversation {state.conversation_id!r} is closed; it takes no {name}")
    if state.phase in ("initializing", "loading") and isinstance(command, RosterCommand | UpdateSettings):
        raise CommandRefused("the conversation is still loading its group; send the command again")
    taken, detail, epoch = _admit_command(state, command, command_id, joining)
    receipt = Receipt(command_id=command_id, command=name, detail=truncate(detail, _DETAIL_CHARS), epoch=epoch)
    return taken.model_copy(update={"receipts": _remember_receipt(taken, receipt)}), receipt


def _remember_receipt(state: ConversationState, receipt: Receipt) -> dict[CommandId, Receipt]:
    """The receipts with one more. What still waits is not forgotten, or the same id could be taken in twice."""
    receipts = {**state.receipts, receipt.command_id: receipt}
    waiting = {post.message_id for post in state.pending_posts}
    waiting |= {change.command_id for change in state.pending_changes}
    done = (command_id for command_id in state.receipts if command_id not in waiting)
    for oldest in list(islice(done, max(len(receipts) - REMEMBERED_COMMANDS, 0))):
        del receipts[oldest]
    return receipts


def record_rejection(state: ConversationState, name: str, command_id: str | None, reason: str) -> ConversationState:
    """Remember that a signal was refused: it has no caller to answer."""
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
            return _update_settings(state, command), "the new settings hold from the next turn boundary on", None
        case Pause(reason=reason):
            if state.paused_because is not None:
                raise CommandRefused("the conversation is already paused")
            return state.model_copy(update={"paused_because": reason}), "pauses at the next turn boundary", None
        case Resume():
            if state.paused_because is None and state.outage:
                outage = state.outage.model_copy(update={"next_probe_at": state.outage.since, "probe_requested": True})
                return state.model_copy(update={"outage": outage}), "tries a member at once", None
            if state.paused_because is None:
                raise CommandRefused("the conversation is not paused")
            return state.model_copy(update={"paused_because": None}), "goes on", None
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
        raise CommandRefused("text: a message has at least one visible character")
    if len(post.text) > limit:
        raise CommandRefused(f"text: {len(post.text)} characters, but max_message_chars is {limit}")
    if expected_roster(state).find(post.sender):
        raise CommandRefused(f"sender: {post.sender!r} is a member; a message from outside bears another name")
    if len(state.pending_posts) >= state.settings.max_pending_messages:
        raise CommandRefused(
            f"{len(state.pending_posts)} messages wait already (max_pending_messages); try again later"
        )
    waiting = Post(message_id=command_id, sender=post.sender, text=post.text)
    _check_pending_size(state, waiting)
    pending = (*state.pending_posts, waiting)
    return state.model_copy(update={"pending_posts": pending}), "enters the transcript at the next turn boundary", None


def _check_pending_size(state: ConversationState, more: Record) -> None:
    """Measured as JSON, for that is how the state travels: a control character takes six bytes there."""
    size = len(more.model_dump_json().encode())
    waiting = len(_PENDING_ADAPTER.dump_json((state.pending_posts, state.pending_changes)))
    if size + waiting > MAX_PENDING_BYTES:
        raise PendingLimitExceeded(
            f"{size} bytes, and {waiting} bytes of messages and changes wait already, but {MAX_PENDING_BYTES} may; "
            "send less or try again later"
        )


def _update_settings(state: ConversationState, command: UpdateSettings) -> ConversationState:
    changes: dict[str, Any] = dict(command.model_extra or {})
    rules, settings = state.manager_config, state.settings
    known = (type(rules).model_fields.keys() | GroupSettings.model_fields.keys()) - _IMMUTABLE_FIELDS
    if not changes:
        raise CommandRefused(f"no setting is named; there are {_join_names(known)}")
    if unknown := [name for name in changes if name not in known]:
        raise CommandRefused(f"{_join_names(unknown)}: no such setting; there are {_join_names(known)}")
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
        raise PendingLimitExceeded(f"{MAX_PENDING_CHANGES} changes of members wait already; try again later")
    if joining and joining.agent_id in getattr(state.manager_config, "manager_ids", ()):
        raise CommandRefused(f"{joining.name!r} manages this conversation and cannot take part in it")
    change = _resolve_change(state, command, command_id, joining)
    roster = apply_roster_change(expected_roster(state), change, state.floor.turn)
    _check_pending_size(state, change)
    taken = state.model_copy(update={"pending_changes": (*state.pending_changes, change)})
    names = ", ".join(member.name for member in roster.members) or "nobody"
    return taken, f"at the next turn boundary: {names}", roster.epoch


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
