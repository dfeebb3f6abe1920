"""How commands reach a running conversation: each as an update with a validator, and as a signal of the same name.

Law: no handler waits for a turn. A command is checked, taken into the state and answered; the loop carries it out at
the next turn boundary. Only a newcomer's name takes a look into the database, and those who change the roster go
through that in the order in which they came.
"""

import asyncio
from inspect import getdoc
from typing import Any

from pydantic import JsonValue, ValidationError
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from tertulia.core.admission import admit, newcomer_of, record_rejection
    from tertulia.core.base import format_validation_error
    from tertulia.core.commands import COMMANDS, AnyCommand, Receipt, RosterCommand, UpdateSettings
    from tertulia.core.errors import (
        CommandRefused,
        ConversationClosed,
        NotFound,
        PendingLimitExceeded,
        RollingOver,
        TertuliaError,
        truncate,
    )
    from tertulia.core.ids import AgentId, CommandId, OrganisationId
    from tertulia.core.roster import MemberRef
    from tertulia.core.state import ConversationState
    from tertulia.workflows.carry_out import find_newcomer


class CommandHandlers:
    """The doors of a conversation: what its workflow offers to those outside."""

    state: ConversationState
    is_draining: bool
    """Set while the run waits to continue as new: nobody may begin a look into the database."""

    def __init__(self, state: ConversationState) -> None:
        self.state = state
        self.is_draining = False
        self._roster_lock = asyncio.Lock()

    def validate_command(self, name: str, argument: JsonValue, command_id: CommandId) -> None:
        """Refuse what can be refused at the door, with nothing written to the history."""
        command = _parse_command(name, argument)
        command_id = CommandId(command.command_id or command_id)
        if command_id in self.state.receipts:
            return
        if newcomer_of(command) and self.is_draining:
            raise ApplicationError(
                "the conversation is moving on to a new run; send the command again", type=RollingOver.code
            )
        if isinstance(command, RosterCommand) and self._roster_lock.locked():
            return
        if isinstance(command, RosterCommand | UpdateSettings) and not self._is_loaded():
            return
        _admit_command(self.state, name, command, command_id, _PLACEHOLDER_MEMBER if newcomer_of(command) else None)

    async def handle_command(self, name: str, argument: JsonValue, command_id: CommandId) -> Receipt:
        """Take a command into the state.

        Raises:
            ApplicationError: it is refused; nothing has changed.
        """
        command = _parse_command(name, argument)
        command_id = CommandId(command.command_id or command_id)
        if isinstance(command, RosterCommand | UpdateSettings):
            await workflow.wait_condition(self._is_loaded)
        if not isinstance(command, RosterCommand):
            self.state, receipt = _admit_command(self.state, name, command, command_id, None)
            return receipt
        async with self._roster_lock:
            who = newcomer_of(command)
            skip_lookup = who is None or command_id in self.state.receipts
            joining = None if skip_lookup else await _look_up_newcomer(self.state.organisation_id, str(who))
            self.state, receipt = _admit_command(self.state, name, command, command_id, joining)
            return receipt

    def _is_loaded(self) -> bool:
        """Before that, nobody knows whom a change of members is about."""
        return self.state.phase not in ("initializing", "loading")

    async def handle_signal(self, name: str, argument: JsonValue) -> None:
        """As `handle_command`; a refusal is kept in the state, for a signal has no caller to answer."""
        try:
            await self.handle_command(name, argument, CommandId(str(workflow.uuid7())))
        except ApplicationError as refusal:
            command_id = argument.get("command_id") if isinstance(argument, dict) else None
            reason = refusal.message.removeprefix(f"{name}: ")
            self.state = record_rejection(self.state, name, str(command_id) if command_id else None, reason)


_PLACEHOLDER_MEMBER = MemberRef(agent_id=AgentId(""), name="")
"""Stands in for a newcomer whose name has not been looked up yet."""


def _parse_command(name: str, argument: JsonValue) -> AnyCommand:
    try:
        return COMMANDS[name].model_validate({} if argument is None else argument)
    except ValidationError as error:
        raise _refused_error(f"{name}: {truncate(format_validation_error(error))}") from None


def _admit_command(
    state: ConversationState, name: str, command: AnyCommand, command_id: CommandId, joining: MemberRef | None
) -> tuple[ConversationState, Receipt]:
    try:
        return admit(state, name, command, command_id, joining=joining)
    except ConversationClosed as error:
        raise _refused_error(str(error), ConversationClosed) from None
    except PendingLimitExceeded as error:
        raise _refused_error(f"{name}: {truncate(str(error))}", PendingLimitExceeded) from None
    except CommandRefused as error:
        raise _refused_error(f"{name}: {truncate(str(error))}") from None


def _refused_error(message: str, kind: type[TertuliaError] = CommandRefused) -> ApplicationError:
    return ApplicationError(message, type=kind.code, non_retryable=True)


async def _look_up_newcomer(organisation_id: OrganisationId, who: str) -> MemberRef:
    try:
        return await find_newcomer(organisation_id, who)
    except ActivityError as error:
        cause = error.cause
        message = cause.message if isinstance(cause, ApplicationError) else f"{who!r} could not be looked up"
        raise _refused_error(message, NotFound) from None


def update_handler(name: str) -> Any:
    """The update `name`, with its validator."""

    @workflow.update(name=name, description=getdoc(COMMANDS[name]))
    async def handle(self: CommandHandlers, argument: JsonValue = None) -> Receipt:
        return await self.handle_command(name, argument, _current_update_id())

    @handle.validator
    def validate(self: CommandHandlers, argument: JsonValue = None) -> None:
        self.validate_command(name, argument, _current_update_id())

    return handle


def signal_handler(name: str) -> Any:
    """The signal `name`, of the same meaning."""

    @workflow.signal(name=name, description=getdoc(COMMANDS[name]))
    async def handle(self: CommandHandlers, argument: JsonValue = None) -> None:
        await self.handle_signal(name, argument)

    return handle


def _current_update_id() -> CommandId:
    info = workflow.current_update_info()
    assert info is not None
    return CommandId(info.id)
