"""Identifier types, and readable ids of conversations."""

import re
import unicodedata
from typing import NewType

OrganisationId = NewType("OrganisationId", str)
KeyId = NewType("KeyId", str)
AgentId = NewType("AgentId", str)
BlockId = NewType("BlockId", str)
GroupId = NewType("GroupId", str)
ConversationId = NewType("ConversationId", str)
CommandId = NewType("CommandId", str)

DEFAULT_ORGANISATION = OrganisationId("local")
"""Organisation of everything that is created without an API key."""
DEFAULT_ORGANISATION_ALIAS = "default"
"""The name under which clients address the default organisation."""

CONVERSATION_SUFFIX_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
"""Characters of the random end of a conversation id, without easily confused ones (0 o, 1 i l)."""
_SLUG_MAX_CHARS = 40
_UNDECOMPOSED = str.maketrans({"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"})
"""Latin letters that Unicode does not decompose into a letter and a mark."""
_NOT_IN_SLUG = re.compile(r"[^a-z0-9]+")


def readable_conversation_id(group_name: str, suffix: str) -> ConversationId:
    """Return an id such as `the-long-table-7k3f9`; a name without Latin letters or digits gives `conversation-7k3f9`.

    Args:
        group_name: the group's display name.
        suffix: random characters of `CONVERSATION_SUFFIX_ALPHABET`, drawn by the caller.
    """
    lowercase = group_name.casefold().translate(_UNDECOMPOSED)
    ascii_name = unicodedata.normalize("NFKD", lowercase).encode("ascii", "ignore").decode().lower()
    slug = _NOT_IN_SLUG.sub("-", ascii_name).strip("-")
    if len(slug) > _SLUG_MAX_CHARS:
        cut = slug[: _SLUG_MAX_CHARS + 1].rpartition("-")[0]
        slug = cut or slug[:_SLUG_MAX_CHARS]
    return ConversationId(f"{slug or 'conversation'}-{suffix}")
