"""`Conversation.members` on every backend."""

from typing import Any

import pytest

from tertulia import CommandRefused, MembershipChange, NotFound, Receipt
from tertulia.client.members import Members
from tests.client.conformance.conftest import Pair


async def test_every_roster_command(pair: Pair) -> None:
    talk = await pair.start("Ana", "Ben")
    cleo, dora, _ = await pair.agents("Cleo", "Dora", "Émile ☕")
    members = talk.members
    receipts = [
        await members.add(cleo.id, position=0, catch_up="last:1", command_id="add-1"),
        await members.add("émile ☕", state="standby", stands_in_for="Ben"),
        await members.mute("Ana"),
        await members.unmute("Ana"),
        await members.reorder(["Ben", "Ana", "Cleo", "Émile ☕"]),
        await members.replace("Ana", dora.id, catch_up="none", in_flight="discard"),
        await members.remove("Cleo", in_flight="finish"),
    ]
    assert [one.command for one in receipts] == [
        "add_member",
        "add_member",
        "mute_member",
        "unmute_member",
        "reorder_members",
        "replace_member",
        "remove_member",
    ]
    await talk.post("And now?")
    await talk.wait_for_round(timeout_seconds=30)
    rows = await pair.same(lambda client: client.conversations.handle(talk.id).members.list())
    states = {row.name: row.state for row in rows}
    assert states == {"Ana": "removed", "Ben": "active", "Cleo": "removed", "Dora": "active", "Émile ☕": "standby"}
    changes = await pair.same(lambda client: client.conversations.handle(talk.id).members.changes())
    assert changes[0].command_id == "add-1" and changes[0].kind == "add"
    rest = await pair.same(
        lambda client: client.conversations.handle(talk.id).members.changes(after_epoch=changes[1].epoch, limit=2)
    )
    assert rest == changes[2:4]
    assert all(isinstance(one, MembershipChange) for one in changes)


async def test_repeated_roster_command(pair: Pair) -> None:
    talk = await pair.start("Ana", "Ben")
    other = pair.other.conversations.handle(talk.id)
    first = await talk.members.mute("Ben", command_id="mute-1")
    assert isinstance(first, Receipt) and await other.members.mute("Ben", command_id="mute-1") == first
    assert await talk.members.mute("Ana", command_id="mute-1") == first
    rows = await pair.same(lambda client: client.conversations.handle(talk.id).members.list())
    assert "Ana" not in [row.name for row in rows if row.state == "muted"]


@pytest.mark.parametrize(
    ("kind", "method", "arguments", "options"),
    [
        (CommandRefused, "add", ["Ana"], {}),
        (NotFound, "add", ["nobody"], {}),
        (CommandRefused, "add", [""], {}),
        (CommandRefused, "add", ["Cleo"], {"position": -1}),
        (CommandRefused, "add", ["Cleo"], {"catch_up": "some"}),
        (CommandRefused, "add", ["Cleo"], {"state": "asleep"}),
        (CommandRefused, "remove", ["Cleo"], {}),
        (CommandRefused, "remove", ["Ana"], {"in_flight": "wait"}),
        (CommandRefused, "replace", ["Ana", "Ben"], {}),
        (CommandRefused, "reorder", [["Ana"]], {}),
        (CommandRefused, "mute", ["Cleo"], {}),
        (CommandRefused, "unmute", ["Cleo"], {}),
        (CommandRefused, "reinstate", ["Cleo"], {}),
        (CommandRefused, "reinstate", ["Ana"], {}),
    ],
)
async def test_refused_roster_commands(
    pair: Pair, kind: type[Exception], method: str, arguments: list[Any], options: dict[str, Any]
) -> None:
    talk = await pair.start("Ana", "Ben")
    await pair.agents("Cleo")

    async def call(client: Any) -> None:
        await getattr(Members, method)(client.conversations.handle(talk.id).members, *arguments, **options)

    assert type(await pair.same_error(call)) is kind
