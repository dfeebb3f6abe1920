"""The tables. Every query that the running system makes has its index here; on the path of a turn all are by key."""

from sqlalchemy import (
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


agents = Table(
    "agents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("instructions", Text, nullable=False),
    Column("model", JSONB, nullable=False),
    Column("memory", JSONB, nullable=False),
    Column("revision", Integer, nullable=False, server_default="1"),
    _created_at(),
    _created_at("updated_at"),
    Index("uq_agents_name", func.lower(Column("name")), unique=True),
)

groups = Table(
    "groups",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("manager_config", JSONB, nullable=False),
    Column("shared_memory", JSONB, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("revision", Integer, nullable=False, server_default="1"),
    _created_at(),
    _created_at("updated_at"),
    Index("uq_groups_name", func.lower(Column("name")), unique=True),
)

group_members = Table(
    "group_members",
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
    Column("group_id", ForeignKey("groups.id"), nullable=False),
    Column("last_seq", BigInteger, nullable=False, server_default="0"),
    Column("last_turn", BigInteger, nullable=False, server_default="0"),
    Column("chars", BigInteger, nullable=False, server_default="0", comment="characters of all messages together"),
    Column("stop_reason", Text),
    Column("final_status", JSONB, comment="the status at closing, for when Temporal has forgotten the workflow"),
    _created_at(),
    Column("closed_at", DateTime(timezone=True)),
    Index(None, "created_at"),
    Index(None, "group_id"),
)

messages = Table(
    "messages",
    metadata,
    Column("conversation_id", ForeignKey("conversations.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("turn", BigInteger, comment="null for a message from outside"),
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
