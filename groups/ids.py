"""Names for the kinds of identifier, so that a checker tells them apart."""

from typing import NewType

AgentId = NewType("AgentId", str)
GroupId = NewType("GroupId", str)
ConversationId = NewType("ConversationId", str)
CommandId = NewType("CommandId", str)
