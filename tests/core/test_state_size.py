"""Size of the state: it fits into one Temporal payload, whatever the length of the conversation."""

from contextlib import suppress

from tertulia.core.admission import admit, record_rejection
from tertulia.core.commands import COMMANDS, PostMessage, Receipt
from tertulia.core.errors import CommandRefused
from tertulia.core.events import MembershipApplied, ProbeDue, TurnCompleted
from tertulia.core.group import MAX_MEMBERS, DynamicConfig, GroupSettings, RoundRobinConfig
from tertulia.core.ids import AgentId, CommandId
from tertulia.core.roster import Member, MemberRef, Roster
from tertulia.core.state import (
    MAX_PENDING_CHANGES,
    REMEMBERED_COMMANDS,
    STATE_PREVIEW_CHARS,
    ConversationState,
    Round,
)
from tertulia.core.state_machine import apply
from tertulia.core.usage import Usage
from tests.core.simulator import START_TIME, CoreSimulator

PAYLOAD_LIMIT = 2 * 1024 * 1024
"""Limit of Temporal's server on one payload, in bytes."""
MAX_PENDING_MESSAGES = 1_000
"""Maximum of the setting."""
WIDE = "𝄞"
"""A character of four bytes in UTF-8."""
ESCAPED = "\x01"
"""A character of one byte that takes six in JSON."""


def json_size(state: ConversationState) -> int:
    return len(state.model_dump_json().encode())


def test_state_size_is_constant() -> None:
    simulator = CoreSimulator.loaded(rules=RoundRobinConfig(max_turns=5))
    sizes = []
    for number in range(400):
        simulator.post(f"post-{number:06}")
        simulator.command("mute_member" if number % 2 == 0 else "unmute_member", f"mute-{number:06}", agent="a1")
        with suppress(CommandRefused):
            simulator.command("remove_member", f"remove-{number:06}", agent="a6")
        simulator.run()
        sizes.append(json_size(simulator.state))
    assert len(simulator.turns) > 1_500
    digits = 1_000
    assert max(sizes[200:]) <= max(sizes[:200]) + digits
    assert len(simulator.state.receipts) == REMEMBERED_COMMANDS


def full_state() -> ConversationState:
    """Return a state with as many members and as long names as allowed."""
    members = tuple(
        Member(agent_id=AgentId(f"{number:03}".ljust(128, "x")), name=f"{number:03}".ljust(64, WIDE))
        for number in range(MAX_MEMBERS)
    )
    return ConversationState(
        group="g",
        phase="ready",
        roster=Roster(epoch=1, members=members),
        manager_config=DynamicConfig(manager_agent_id=AgentId("manager")),
        settings=GroupSettings(max_pending_messages=MAX_PENDING_MESSAGES, max_message_chars=200_000),
    )


def command_id(number: int) -> CommandId:
    return CommandId(f"{number:06}".ljust(200, WIDE))


def send_command(state: ConversationState, name: str, number: int, **fields: object) -> ConversationState:
    """Return the state after the command, admitted or refused."""
    command = COMMANDS[name].model_validate(fields)
    joining = MemberRef(agent_id=AgentId("new"), name="New")
    with suppress(CommandRefused):
        return admit(state, name, command, command_id(number), joining=joining)[0]
    return state


def full_receipts() -> dict[CommandId, Receipt]:
    """Return as many receipts as are kept, each of maximum size."""
    ids = [command_id(number) for number in range(1_000, 1_000 + REMEMBERED_COMMANDS)]
    return {one: Receipt(command_id=one, command="reorder_members", detail=WIDE * 200, epoch=10**9) for one in ids}


def test_state_fits_payload_when_all_is_pending() -> None:
    state = full_state()
    order = [member.agent_id for member in state.roster.members]
    for number in range(20):
        state = send_command(state, "reorder_members", number, agents=order[::-1] if number % 2 else order)
    for number in range(20, 60):
        state = send_command(state, "post_message", number, text=ESCAPED * 4_000, sender="S".ljust(64, WIDE))
    state = state.model_copy(update={"receipts": full_receipts() | state.receipts})
    for _ in range(100):
        state = record_rejection(state, "add_member", WIDE * 100_000, WIDE * 100_000)
    assert state.pending_posts
    assert state.pending_changes
    assert json_size(state) < PAYLOAD_LIMIT


def test_state_fits_payload_with_unhealthy_roster() -> None:
    """All members failed with long reasons, all health changes wait, and all other limits are reached."""
    state = full_state()
    state = state.model_copy(
        update={"clock": START_TIME, "round": Round(number=1, started_at=START_TIME, usage_before=Usage())}
    )
    for member in state.roster.members:
        state = apply(state, failed_turn(state, member))
    assert state.outage
    assert len(state.pending_changes) >= MAX_MEMBERS
    for _ in range(3):
        state = apply(state, ProbeDue(at=START_TIME))
        waiting = len(state.pending_changes)
        state = apply(state, MembershipApplied(at=START_TIME, count=waiting - MAX_MEMBERS))
    for number in range(200):
        state = send_command(state, "post_message", number, text=ESCAPED * 4_000, sender="S".ljust(64, WIDE))
    state = state.model_copy(update={"receipts": full_receipts() | state.receipts})
    for _ in range(100):
        state = record_rejection(state, "add_member", WIDE * 100_000, WIDE * 100_000)
    assert json_size(state) < PAYLOAD_LIMIT


def failed_turn(state: ConversationState, member: Member) -> TurnCompleted:
    """Return a failed turn of the member, with texts as long as the workflow allows."""
    return TurnCompleted(
        at=START_TIME,
        turn=state.floor.turn + 1,
        speaker=member.ref,
        outcome="failed",
        text_preview=WIDE * STATE_PREVIEW_CHARS,
        error=WIDE * STATE_PREVIEW_CHARS,
        seq=0,
        chosen_by="manager",
        reason=WIDE * 500,
    )


def test_pending_changes_are_bounded_in_size() -> None:
    state = full_state().model_copy(update={"receipts": full_receipts()})
    order = [member.agent_id for member in state.roster.members]
    for number in range(MAX_PENDING_CHANGES):
        state = send_command(state, "reorder_members", number, agents=order[::-1] if number % 2 else order)
    assert 10 < len(state.pending_changes) < MAX_PENDING_CHANGES
    assert json_size(state) < PAYLOAD_LIMIT


def test_pending_posts_are_bounded_in_size() -> None:
    state = full_state()
    for number in range(600):
        state = send_command(state, "post_message", number, text="x", sender="S".ljust(64, WIDE))
    assert 100 < len(state.pending_posts) < 600
    assert json_size(state) < PAYLOAD_LIMIT


def test_receipt_is_kept_while_post_is_pending() -> None:
    state = full_state()
    for number in range(REMEMBERED_COMMANDS + 50):
        state = send_command(state, "post_message", number, text="x")
    waiting = [post.message_id for post in state.pending_posts]
    again, receipt = admit(state, "post_message", PostMessage(text="x"), command_id(0))
    assert again == state
    assert receipt.command_id == command_id(0)
    assert len(waiting) == len(set(waiting)) == REMEMBERED_COMMANDS + 50
