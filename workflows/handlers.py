"""Handlers of commands: each command is an update with a validator, and a signal of the same name.

Invariant: no handler waits for a turn. A command is validated, added to the state and answered; the main loop applies
it at the next turn boundary. Only adding a member reads the database, to find the agent by name; a lock keeps commands
that change the roster in the order of their arrival meanwhile.
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
    """Update and signal handlers of a conversation's workflow."""

    state: ConversationState
    """The state of the conversation, replaced with every change."""
    is_draining: bool
    """True while the run waits for its handlers before it continues as new: no handler may start an activity."""

    def __init__(self, state: ConversationState) -> None:
        self.state = state
        self.is_draining = False
        self._roster_lock = asyncio.Lock()

    def validate_command(self, name: str, argument: JsonValue, command_id: CommandId) -> None:
        """Refuse a command that is invalid now. A refusal by an update's validator leaves no trace in the history.

        Raises:
            ApplicationError: the command is refused.
        """
        command = _parse_command(name, argument)
        command_id = CommandId(command.command_id or command_id)
        if command_id in self.state.receipts:
            return
        if newcomer_of(command) and self.is_draining:
            raise ApplicationError(
                "the conversation continues in a new Temporal run; send the command again", type=RollingOver.code
            )
        if isinstance(command, RosterCommand) and self._roster_lock.locked():
            return
        if isinstance(command, RosterCommand | UpdateSettings) and not self._is_loaded():
            return
        _admit_command(self.state, name, command, command_id, _PLACEHOLDER_MEMBER if newcomer_of(command) else None)

    async def handle_command(self, name: str, argument: JsonValue, command_id: CommandId) -> Receipt:
        """Add a command to the state.

        Raises:
            ApplicationError: the command is refused; nothing has changed.
        """
        command = _parse_command(name, argument)
        command_id = CommandId(command.command_id or command_id)
        if isinstance(command, RosterCommand | UpdateSettings):
            await workflow.wait_condition(self._is_loaded)
        if not isinstance(command, RosterCommand):
            self.state, receipt = _admit_command(self.state, name, command, command_id, None)
            return receipt
        async with self._roster_lock:
            newcomer = newcomer_of(command)
            skip_lookup = newcomer is None or command_id in self.state.receipts
            joining = None if skip_lookup else await _look_up_newcomer(self.state.organisation_id, str(newcomer))
            self.state, receipt = _admit_command(self.state, name, command, command_id, joining)
            return receipt

    def _is_loaded(self) -> bool:
        """Return True once the roster is known, to which commands refer."""
        return self.state.phase not in ("initializing", "loading")

    async def handle_signal(self, name: str, argument: JsonValue) -> None:
        """Add a command to the state; record a refusal there, because a signal has no caller to answer."""
        try:
            await self.handle_command(name, argument, CommandId(str(workflow.uuid7())))
        except ApplicationError as refusal:
            command_id = argument.get("command_id") if isinstance(argument, dict) else None
            reason = refusal.message.removeprefix(f"{name}: ")
            self.state = record_rejection(self.state, name, str(command_id) if command_id else None, reason)


_PLACEHOLDER_MEMBER = MemberRef(agent_id=AgentId(""), name="")
"""Represents a new member in a validator, which cannot run the activity that finds the agent."""


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


async def _look_up_newcomer(organisation_id: OrganisationId, agent: str) -> MemberRef:
    try:
        return await find_newcomer(organisation_id, agent)
    except ActivityError as error:
        cause = error.cause
        message = (
            cause.message if isinstance(cause, ApplicationError) else f"the agent {agent!r} could not be looked up"
        )
        raise _refused_error(message, NotFound) from None


def update_handler(name: str) -> Any:
    """Return the update handler of a command, with its validator."""

    @workflow.update(name=name, description=getdoc(COMMANDS[name]))
    async def handle(self: CommandHandlers, argument: JsonValue = None) -> Receipt:
        return await self.handle_command(name, argument, _current_update_id())

    @handle.validator
    def validate(self: CommandHandlers, argument: JsonValue = None) -> None:
        self.validate_command(name, argument, _current_update_id())

    return handle


def signal_handler(name: str) -> Any:
    """Return the signal handler of a command."""

    @workflow.signal(name=name, description=getdoc(COMMANDS[name]))
    async def handle(self: CommandHandlers, argument: JsonValue = None) -> None:
        await self.handle_signal(name, argument)

    return handle


def _current_update_id() -> CommandId:
    info = workflow.current_update_info()
    assert info is not None
    return CommandId(info.id)
