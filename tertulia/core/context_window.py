"""Context window: the part of the transcript in a prompt, the newest messages within a budget.

Invariant: the start of the window moves in steps of half the budget. Between two steps the front of the prompt stays
the same, so that providers can cache it. The cost of finding the start does not depend on the transcript's length.
"""

from dataclasses import dataclass

CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class ContextWindow:
    """The messages with `seq > after_seq` that have at least `after_chars` characters of transcript before them.

    The last message is always included.
    """

    after_seq: int
    after_chars: int


def compute_window(
    last_seq: int, chars: int, *, max_messages: int, max_tokens: int, visible_from: int = 0
) -> ContextWindow:
    """Return the window over a transcript of `last_seq` messages and `chars` characters.

    Args:
        last_seq: number of the last message.
        chars: characters of all messages together.
        max_messages: limit on messages.
        max_tokens: approximate limit on tokens, at 4 characters each.
        visible_from: the reader can see messages after this `seq`.
    """
    return ContextWindow(
        after_seq=max(_window_start(last_seq, max_messages), visible_from),
        after_chars=_window_start(chars, max_tokens * CHARS_PER_TOKEN),
    )


def _window_start(length: int, budget: int) -> int:
    # The overrun is rounded up to whole steps, so that the start stays the same for half a budget of new text.
    step = max(budget // 2, 1)
    return max(-(-(length - budget) // step), 0) * step
