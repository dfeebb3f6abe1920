"""The tables. Every query of the running system has its index here; on the path of a turn, all reads are by key."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

from tertulia.core.ids import DEFAULT_ORGANISATION

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _created_at(name: str = "created_at") -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def _organisation() -> Column[object]:
    default = DEFAULT_ORGANISATION
    return Column("organisation_id", ForeignKey("organisations.id"), nullable=False, server_default=default)


def _deleted_at() -> Column[object]:
    return Column("deleted_at", DateTime(timezone=True), comment="kept for the transcripts that name it")


def _name_index(table: str) -> Index:
    active = Column("deleted_at").is_(None)
    name = func.lower(Column("name"))
    return Index(f"uq_{table}_name", "organisation_id", name, unique=True, postgresql_where=active)


organisations = Table(
    "organisations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    _created_at(),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    _organisation(),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True, comment="SHA-256 of the key, which is random"),
    Column("hint", Text, nullable=False, comment="the key's first characters"),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("used_at", DateTime(timezone=True), comment="about when it was last used"),
    _created_at(),
    Index(None, "organisation_id"),
)

blocks = Table(
    "blocks",
    metadata,
    Column("id", Text, primary_key=True),
    _organisation(),
    Column("label", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("limit", Integer, nullable=False, comment="the most characters that the value may have"),
    Column("version", Integer, nullable=False, server_default="1", comment="counts the changes of the value"),
    Column("metadata", JSONB, nullable=False, server_default="{}"),
    _created_at(),
    _created_at("updated_at"),
    Index(None, "organisation_id", "created_at", "id"),
)

agents = Table(
    "agents",
    metadata,
    Column("id", Text, primary_key=True),
    _organisation(),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("instructions", Text, nullable=False),
    Column("model", JSONB, nullable=False),
    Column("tags", ARRAY(Text), nullable=False, server_default="{}"),
    Column("metadata", JSONB, nullable=False, server_default="{}"),
    Column("revision", Integer, nullable=False, server_default="1"),
    _created_at(),
    _created_at("updated_at"),
    _deleted_at(),
    _name_index("agents"),
    Index(None, "organisation_id", "created_at", "id"),
)

agents_blocks = Table(
    "agents_blocks",
    metadata,
    Column("agent_id", ForeignKey("agents.id", ondelete="CASCADE"), nullable=False),
    Column("block_id", ForeignKey("blocks.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    PrimaryKeyConstraint("agent_id", "block_id"),
    Index(None, "block_id"),
)

groups = Table(
    "groups",
    metadata,
    Column("id", Text, primary_key=True),
    _organisation(),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("manager_config", JSONB, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("metadata", JSONB, nullable=False, server_default="{}"),
    Column("revision", Integer, nullable=False, server_default="1"),
    Column("default_conversation_id", Text, comment="where messages to the group go"),
    _created_at(),
    _created_at("updated_at"),
    _deleted_at(),
    _name_index("groups"),
    Index(None, "organisation_id", "created_at", "id"),
)

groups_blocks = Table(
    "groups_blocks",
    metadata,
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE"), nullable=False),
    Column("block_id", ForeignKey("blocks.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    PrimaryKeyConstraint("group_id", "block_id"),
    Index(None, "block_id"),
)

group_changes = Table(
    "group_changes",
    metadata,
    Column("id", Text, primary_key=True, comment="the workflow's that makes the change: made twice, it is made once"),
    Column("written", JSONB, nullable=False, comment="what was written, and so what the conversations are told"),
    _created_at(),
)

groups_agents = Table(
    "groups_agents",
    metadata,
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE"), nullable=False),
    Column("agent_id", ForeignKey("agents.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("standby", Boolean, nullable=False, server_default="false", comment="speaks only in another's place"),
    Column("stands_in_for", Text, comment="the only member it stands in for; null = any"),
    PrimaryKeyConstraint("group_id", "agent_id"),
    Index(None, "agent_id"),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Text, primary_key=True),
    _organisation(),
    Column("group_id", ForeignKey("groups.id"), nullable=False),
    Column("phase", Text, nullable=False, server_default="ready", comment="ready, executing, paused or closed"),
    Column("phase_number", BigInteger, nullable=False, server_default="0", comment="counts the changes of the phase"),
    Column("last_seq", BigInteger, nullable=False, server_default="0"),
    Column("last_turn", BigInteger, nullable=False, server_default="0"),
    Column("last_event", BigInteger, nullable=False, server_default="0"),
    Column("started_turn", BigInteger, nullable=False, server_default="0", comment="the last turn that has begun"),
    Column("chars", BigInteger, nullable=False, server_default="0", comment="characters of all messages together"),
    Column("stop_reason", Text),
    Column("final_status", JSONB, comment="the status at closing, for when Temporal has forgotten the workflow"),
    Column("forked_from", Text, comment="the conversation whose beginning this one shares"),
    Column("forked_turn", BigInteger, comment="the last turn that they share"),
    Column("watched_until", DateTime(timezone=True), comment="till then somebody wants to see words as they are said"),
    _created_at(),
    Column("closed_at", DateTime(timezone=True)),
    Index(None, "organisation_id", "created_at", "id"),
    Index(None, "group_id", "id", postgresql_where=Column("closed_at").is_(None)),
)

messages = Table(
    "messages",
    metadata,
    Column("conversation_id", ForeignKey("conversations.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("turn", BigInteger, comment="null for a message from outside"),
    Column("round", Integer, comment="the round that it belongs to; null for one from before rounds were kept"),
    Column("role", Text, nullable=False),
    Column("sender_id", Text),
    Column("sender", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("chars_before", BigInteger, nullable=False, comment="characters of all earlier messages together"),
    Column("message_id", Text, comment="the poster's id: the same one is recorded once"),
    _created_at(),
    PrimaryKeyConstraint("conversation_id", "seq"),
    CheckConstraint("role in ('user', 'assistant')", name="role"),
    Index(
        "uq_messages_message_id",
        "conversation_id",
        "message_id",
        unique=True,
        postgresql_where=Column("message_id").is_not(None),
    ),
)

turns = Table(
    "turns",
    metadata,
    Column("conversation_id", ForeignKey("conversations.id"), nullable=False),
    Column("turn", BigInteger, nullable=False),
    Column("round", Integer, nullable=False),
    Column("epoch", Integer, nullable=False, comment="the roster's, when the turn began"),
    Column("speaker_id", Text, nullable=False),
    Column("speaker", Text, nullable=False),
    Column("chosen_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("error", Text, comment="what failed, also where there was an answer in the end"),
    Column("seq", BigInteger, nullable=False, comment="the last message of the transcript after the turn"),
    Column("attempt", Integer, nullable=False, comment="which attempt committed"),
    Column("model", Text),
    Column("fallback", Integer, nullable=False, server_default="0", comment="0 = the agent's own model answered"),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("model_calls", Integer, nullable=False, server_default="1"),
    Column("started_at", DateTime(timezone=True), nullable=False),
    _created_at("finished_at"),
    PrimaryKeyConstraint("conversation_id", "turn"),
    CheckConstraint("outcome in ('spoke', 'passed', 'failed', 'discarded', 'cancelled')", name="outcome"),
)

rounds = Table(
    "rounds",
    metadata,
    Column("conversation_id", ForeignKey("conversations.id"), nullable=False),
    Column("round", Integer, nullable=False),
    Column("turns", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False, comment="the last message of the transcript after the round"),
    Column("stop_reason", Text, nullable=False),
    Column("explanation", Text, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("model_calls", Integer, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    _created_at("ended_at"),
    PrimaryKeyConstraint("conversation_id", "round"),
)

events = Table(
    "events",
    metadata,
    Column("conversation_id", ForeignKey("conversations.id"), nullable=False),
    Column("number", BigInteger, nullable=False, comment="1, 2, 3…; a row of two events has the second"),
    Column("kind", Text, nullable=False),
    Column("subject", BigInteger, comment="which message (seq), turn, change of the roster (epoch) or round"),
    Column("detail", JSONB, comment="what no other table holds"),
    _created_at(),
    PrimaryKeyConstraint("conversation_id", "number"),
)

selections = Table(
    "selections",
    metadata,
    Column("conversation_id", ForeignKey("conversations.id"), nullable=False),
    Column("round", Integer, nullable=False),
    Column("turn", BigInteger, nullable=False),
    Column("manager_id", Text, nullable=False, server_default=""),
    Column("outcome", Text, nullable=False),
    Column("agent_id", Text),
    Column("reason", Text, nullable=False),
    Column("error", Text, comment="what failed before there was an answer"),
    Column("fallback", Integer, nullable=False, server_default="0", comment="0 = the manager's own model answered"),
    Column("attempts", Integer, nullable=False, comment="answers the manager was asked for"),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("model_calls", Integer, nullable=False),
    _created_at(),
    PrimaryKeyConstraint("conversation_id", "round", "turn", "manager_id"),
    CheckConstraint("outcome in ('chosen', 'finished', 'failed')", name="outcome"),
)

members = Table(
    "members",
    metadata,
    Column("conversation_id", ForeignKey("conversations.id"), nullable=False),
    Column("agent_id", ForeignKey("agents.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False, comment="'removed' for one who has left; its row stays"),
    Column("position", Integer, nullable=False),
    Column("visible_from", BigInteger, nullable=False, comment="may read what comes after this seq"),
    Column("cursor", BigInteger, nullable=False, comment="the last seq it has seen"),
    _created_at("joined_at"),
    PrimaryKeyConstraint("conversation_id", "agent_id"),
)

membership_changes = Table(
    "membership_changes",
    metadata,
    Column("conversation_id", Text, nullable=False),
    Column("epoch", Integer, nullable=False, comment="the roster's, after the change"),
    Column("command_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("after_turn", BigInteger, nullable=False),
    Column("after_seq", BigInteger, nullable=False),
    _created_at(),
    PrimaryKeyConstraint("conversation_id", "epoch"),
    UniqueConstraint("conversation_id", "command_id"),
    ForeignKeyConstraint(["conversation_id"], ["conversations.id"]),
)

claims = Table(
    "claims",
    metadata,
    Column("worker", Integer, nullable=False, comment="the second half of the worker's advisory lock"),
    Column("token", LargeBinary, nullable=False, comment="Temporal's, of an activity that the worker is at work on"),
    PrimaryKeyConstraint("worker", "token"),
    prefixes=["UNLOGGED"],
)
