"""What a reader of a conversation's events meets: the events, words as they are said, and that something is away."""

from dataclasses import dataclass
from typing import TypeAlias

from tertulia.core.records import ConversationEvent, LiveDelta

NO_DATABASE = "the database does not answer"


@dataclass(frozen=True)
class Interrupted:
    """What the events are read from does not answer. Told once; what follows goes on where it stopped."""

    reason: str = NO_DATABASE


Occurrence: TypeAlias = ConversationEvent | LiveDelta | Interrupted
