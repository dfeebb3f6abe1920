"""Names for the kinds of identifier, so that a checker tells them apart."""

from typing import NewType

OrganisationId = NewType("OrganisationId", str)
KeyId = NewType("KeyId", str)
AgentId = NewType("AgentId", str)
BlockId = NewType("BlockId", str)
GroupId = NewType("GroupId", str)
ConversationId = NewType("ConversationId", str)
CommandId = NewType("CommandId", str)

DEFAULT_ORGANISATION = OrganisationId("local")
"""Whose everything is that was made without a key."""
