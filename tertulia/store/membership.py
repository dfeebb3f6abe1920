"""The members of conversations, and the audit of every change of a roster."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import case, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tertulia.core.group import catch_up_start
from tertulia.core.ids import ConversationId
from tertulia.core.records import MemberRow, MembershipChange
from tertulia.core.roster import MemberRef, Roster
from tertulia.core.roster_changes import AnyRosterChange, MemberAdded, MemberReplaced
from tertulia.store.database import Database
from tertulia.store.event_log import NewEvent, append_events
from tertulia.store.tables import conversations, members, membership_changes, turns


async def apply_changes(
    database: Database,
    conversation_id: ConversationId,
    changes: Sequence[AnyRosterChange],
    first_epoch: int,
    roster: Roster,
) -> None:
    """Store `changes` and the roster that results from them. Idempotent.

    A member that returns keeps its row: it sees what it saw before, and continues from its cursor.
    """
    async with database.transaction() as connection:
        position = select(conversations.c.last_turn, conversations.c.last_seq)
        row = (await connection.execute(position.where(conversations.c.id == conversation_id).with_for_update())).one()
        audit = [
            _audit_line(conversation_id, first_epoch + offset, change, row.last_turn, row.last_seq)
            for offset, change in enumerate(changes)
        ]
        new = insert(membership_changes).values(audit).on_conflict_do_nothing().returning(membership_changes.c.epoch)
        epochs = sorted(await connection.scalars(new))
        await append_events(
            connection, conversation_id, [NewEvent(kind="membership", subject=epoch) for epoch in epochs]
        )
        await _admit(connection, conversation_id, _joiners(changes), row.last_seq)
        await _write_roster(connection, conversation_id, roster)


def _audit_line(
    conversation_id: ConversationId, epoch: int, change: AnyRosterChange, after_turn: int, after_seq: int
) -> dict[str, Any]:
    return {
        "conversation_id": conversation_id,
        "epoch": epoch,
        "command_id": change.command_id,
        "kind": change.kind,
        "detail": change.model_dump(mode="json", exclude={"command_id", "kind"}),
        "after_turn": after_turn,
        "after_seq": after_seq,
    }


def _joiners(changes: Iterable[AnyRosterChange]) -> dict[str, tuple[MemberRef, str]]:
    joiners: dict[str, tuple[MemberRef, str]] = {}
    for change in changes:
        match change:
            case MemberAdded(member=joining, catch_up=catch_up):
                joiners.setdefault(joining.agent_id, (joining, catch_up))
            case MemberReplaced(replacement=joining, catch_up=catch_up):
                joiners.setdefault(joining.agent_id, (joining, catch_up))
            case _:
                pass
    return joiners


async def _admit(
    connection: AsyncConnection,
    conversation_id: ConversationId,
    joiners: dict[str, tuple[MemberRef, str]],
    last_seq: int,
) -> None:
    rows = [
        {
            "conversation_id": conversation_id,
            "agent_id": member.agent_id,
            "name": member.name,
            "state": "removed",
            "position": 0,
            "visible_from": catch_up_start(catch_up, last_seq),
            "cursor": catch_up_start(catch_up, last_seq),
        }
        for member, catch_up in joiners.values()
    ]
    if rows:
        await connection.execute(insert(members).on_conflict_do_nothing(), rows)


async def _write_roster(connection: AsyncConnection, conversation_id: ConversationId, roster: Roster) -> None:
    own = members.c.conversation_id == conversation_id
    here = {member.agent_id: (position, member) for position, member in enumerate(roster.members)}
    if not here:
        await connection.execute(update(members).where(own).values(state="removed"))
        return
    states = {agent_id: member.effective_state for agent_id, (_, member) in here.items()}
    names = {agent_id: member.name for agent_id, (_, member) in here.items()}
    positions = {agent_id: position for agent_id, (position, _) in here.items()}
    await connection.execute(
        update(members)
        .where(own)
        .values(
            state=case(states, value=members.c.agent_id, else_="removed"),
            name=case(names, value=members.c.agent_id, else_=members.c.name),
            position=case(positions, value=members.c.agent_id, else_=members.c.position),
        )
    )


async def read_changes(
    database: Database, conversation_id: str, *, after_epoch: int = 0, limit: int = 1_000
) -> list[MembershipChange]:
    """Return up to `limit` changes after epoch `after_epoch`, the oldest first."""
    table = membership_changes
    columns = (table.c[name] for name in MembershipChange.model_fields)
    query = select(*columns).where(table.c.conversation_id == conversation_id, table.c.epoch > after_epoch)
    rows = await database.rows(query.order_by(table.c.epoch).limit(limit))
    return [MembershipChange.model_validate(dict(row._mapping)) for row in rows]


_MEMBER_COLUMNS = tuple(members.c[name] for name in ("agent_id", "name", "state", "visible_from", "cursor"))


async def read_members(database: Database, conversation_id: str) -> list[MemberRow]:
    """Return present members in the roster's order, then former ones. Their usage is left at 0."""
    order = (members.c.state == "removed", members.c.position, members.c.agent_id)
    own = members.c.conversation_id == conversation_id
    rows = await database.rows(select(*_MEMBER_COLUMNS).where(own).order_by(*order))
    return [MemberRow.model_validate(dict(row._mapping)) for row in rows]


async def read_members_with_usage(database: Database, conversation_id: str) -> list[MemberRow]:
    """Return present members in the roster's order, then former ones, each with the usage of its turns."""
    usage = (
        select(
            turns.c.speaker_id,
            func.count().label("turns"),
            func.sum(turns.c.prompt_tokens).label("prompt_tokens"),
            func.sum(turns.c.completion_tokens).label("completion_tokens"),
            func.sum(turns.c.model_calls).label("model_calls"),
        )
        .where(turns.c.conversation_id == conversation_id)
        .group_by(turns.c.speaker_id)
    )
    by_speaker = {row.speaker_id: row._mapping for row in await database.rows(usage)}
    return [
        MemberRow.model_validate({**dict(member), **by_speaker.get(member.agent_id, {})})
        for member in await read_members(database, conversation_id)
    ]
