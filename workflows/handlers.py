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
    from tertulia.core.admission import accept, newcomer, reject
    from tertulia.core.base import explain
    from tertulia.core.commands import COMMANDS, AnyCommand, Receipt, RosterCommand, UpdateSettings
    from tertulia.core.errors import CommandRefused, ConversationClosed, ErrorType, TooMuchWaits, brief
    from tertulia.core.ids import AgentId, CommandId, OrganisationId
    from tertulia.core.roster import MemberRef
    from tertulia.core.state import ConversationState
    from tertulia.workflows.carry_out import find_newcomer


class CommandHandlers:
    """The doors of a conversation: what its workflow offers to those outside."""

    state: ConversationState
    draining: bool
    """Set while the run waits to continue as new: nobody may begin a look into the database."""

    def __init__(self, state: ConversationState) -> None:
        self.state = state
        self.draining = False
        self._in_order = asyncio.Lock()

    def check(self, name: str, argument: JsonValue, command_id: CommandId) -> None:
        """Refuse what can be refused at the door, with nothing written to the history."""
        command = _parsed(name, argument)
        command_id = CommandId(command.command_id or command_id)
        if command_id in self.state.receipts:
            return
        if newcomer(command) and self.draining:
            raise ApplicationError(
                "the conversation is moving on to a new run; send the command again", type=ErrorType.BUSY
            )
        if isinstance(command, RosterCommand) and self._in_order.locked():
            return
        if isinstance(command, RosterCommand | UpdateSettings) and not self._is_loaded():
            return
        _accepted(self.state, name, command, command_id, _ANYONE if newcomer(command) else None)

    async def take_in(self, name: str, argument: JsonValue, command_id: CommandId) -> Receipt:
        """Take a command into the state.

        Raises:
            ApplicationError: it is refused; nothing has changed.
        """
        command = _parsed(name, argument)
        command_id = CommandId(command.command_id or command_id)
        if isinstance(command, RosterCommand | UpdateSettings):
            await workflow.wait_condition(self._is_loaded)
        if not isinstance(command, RosterCommand):
            self.state, receipt = _accepted(self.state, name, command, command_id, None)
            return receipt
        async with self._in_order:
            who = newcomer(command)
            known = who is None or command_id in self.state.receipts
            joining = None if known else await _found(self.state.organisation_id, str(who))
            self.state, receipt = _accepted(self.state, name, command, command_id, joining)
            return receipt

    def _is_loaded(self) -> bool:
        """Before that, nobody knows whom a change of members is about."""
        return self.state.phase not in ("initializing", "loading")

    async def take_in_signal(self, name: str, argument: JsonValue) -> None:
        """As `take_in`; a refusal is kept in the state, for a signal has no caller to answer."""
        try:
            await self.take_in(name, argument, CommandId(str(workflow.uuid7())))
        except ApplicationError as refusal:
            command_id = argument.get("command_id") if isinstance(argument, dict) else None
            reason = refusal.message.removeprefix(f"{name}: ")
            self.state = reject(self.state, name, str(command_id) if command_id else None, reason)


_ANYONE = MemberRef(agent_id=AgentId(""), name="")
"""Stands in for a newcomer whose name has not been looked up yet."""


def _parsed(name: str, argument: JsonValue) -> AnyCommand:
    try:
        return COMMANDS[name].model_validate({} if argument is None else argument)
    except ValidationError as error:
        raise _refusal(f"{name}: {brief(explain(error))}") from None


def _accepted(
    state: ConversationState, name: str, command: AnyCommand, command_id: CommandId, joining: MemberRef | None
) -> tuple[ConversationState, Receipt]:
    try:
        return accept(state, name, command, command_id, joining=joining)
    except ConversationClosed as error:
        raise _refusal(str(error), ErrorType.CLOSED) from None
    except TooMuchWaits as error:
        raise _refusal(f"{name}: {brief(str(error))}", ErrorType.FULL) from None
    except CommandRefused as error:
        raise _refusal(f"{name}: {brief(str(error))}") from None


def _refusal(message: str, type: ErrorType = ErrorType.REFUSED) -> ApplicationError:
    return ApplicationError(message, type=type, non_retryable=True)


async def _found(organisation_id: OrganisationId, who: str) -> MemberRef:
    try:
        return await find_newcomer(organisation_id, who)
    except ActivityError as error:
        cause = error.cause
        message = cause.message if isinstance(cause, ApplicationError) else f"{who!r} could not be looked up"
        raise _refusal(message, ErrorType.NOT_FOUND) from None


def update_handler(name: str) -> Any:
    """The update `name`, with its validator."""

    @workflow.update(name=name, description=getdoc(COMMANDS[name]))
    async def handle(self: CommandHandlers, argument: JsonValue = None) -> Receipt:
        return await self.take_in(name, argument, _update_id())

    @handle.validator
    def validate(self: CommandHandlers, argument: JsonValue = None) -> None:
        self.check(name, argument, _update_id())

    return handle


def signal_handler(name: str) -> Any:
    """The signal `name`, of the same meaning."""

    @workflow.signal(name=name, description=getdoc(COMMANDS[name]))
    async def handle(self: CommandHandlers, argument: JsonValue = None) -> None:
        await self.take_in_signal(name, argument)

    return handle


def _update_id() -> CommandId:
    info = workflow.current_update_info()
    assert info is not None
    return CommandId(info.id)
