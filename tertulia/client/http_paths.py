"""Paths of resources in the REST API. Invariant: text that has no path of its own names nothing."""

from urllib.parse import quote

from tertulia.core.errors import InvalidDefinition, NotFound

_MAX_ID_LENGTH = 128
_NO_IDS = ("", ".", "..", "count")
"""Path segments with a meaning of their own: `count` is a route."""


def quote_id(kind: str, id_text: str) -> str:
    """Return the id as a path segment.

    Raises:
        NotFound: the text cannot be an id.
        InvalidDefinition: the text cannot be sent.
    """
    if id_text in _NO_IDS or "/" in id_text or len(id_text) > _MAX_ID_LENGTH:
        raise NotFound(f"no such {kind}: {id_text!r}")
    try:
        return quote(id_text, safe="")
    except UnicodeEncodeError:
        raise InvalidDefinition("a text holds half of a surrogate pair, which cannot be stored") from None


def agent_path(agent_id: str) -> str:
    """Return the path of an agent."""
    return f"/agents/{quote_id('agent', agent_id)}"


def block_path(block_id: str) -> str:
    """Return the path of a block."""
    return f"/blocks/{quote_id('block', block_id)}"


def group_path(group_id: str) -> str:
    """Return the path of a group."""
    return f"/groups/{quote_id('group', group_id)}"


def conversation_path(conversation_id: str) -> str:
    """Return the path of a conversation."""
    return f"/conversations/{quote_id('conversation', conversation_id)}"


def key_path(key_id: str) -> str:
    """Return the path of a key."""
    return f"/keys/{quote_id('key', key_id)}"
