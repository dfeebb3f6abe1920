"""Which part of a transcript a prompt holds: the newest messages within a budget.

Law: the window's beginning moves in steps of half a budget. Between two steps the old messages in front stay unchanged,
so that a provider's prompt cache hits; and finding the beginning costs the same however long the transcript is.
"""

from dataclasses import dataclass

CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class ContextWindow:
    """The messages with `seq > after_seq` and, of those, the ones with at least `after_chars` of transcript before
    them; the last message is always in it."""

    after_seq: int
    after_chars: int


def compute_window(
    last_seq: int, chars: int, *, max_messages: int, max_tokens: int, visible_from: int = 0
) -> ContextWindow:
    """The window over a transcript of `last_seq` messages and `chars` characters.

    Args:
        last_seq: the number of the last message.
        chars: the characters of all messages together.
        max_messages: the most messages to show.
        max_tokens: about the most tokens to show.
        visible_from: the reader may see what comes after this `seq`.
    """
    return ContextWindow(
        after_seq=max(_window_start(last_seq, max_messages), visible_from),
        after_chars=_window_start(chars, max_tokens * CHARS_PER_TOKEN),
    )


def _window_start(length: int, budget: int) -> int:
    step = max(budget // 2, 1)
    return max(-(-(length - budget) // step), 0) * step
