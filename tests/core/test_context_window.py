"""Context window: its start moves in steps, so that the front of prompts stays; its cost is constant."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.core.context_window import CHARS_PER_TOKEN, ContextWindow, compute_window


def visible_seqs(lengths: list[int], view: ContextWindow) -> list[int]:
    """Return the `seq` of the messages in the window, as the store reads them."""
    before, seqs = 0, []
    for seq, length in enumerate(lengths, start=1):
        if seq > view.after_seq and (before >= view.after_chars or seq == len(lengths)):
            seqs.append(seq)
        before += length
    return seqs


lengths_of_messages = st.lists(st.integers(0, 300), min_size=1, max_size=120)


@given(lengths_of_messages, st.integers(2, 40), st.integers(20, 400), st.integers(0, 130))
def test_window_keeps_budget_and_last_message(
    lengths: list[int], max_messages: int, max_tokens: int, visible_from: int
) -> None:
    limits = {"max_messages": max_messages, "max_tokens": max_tokens, "visible_from": visible_from}
    seqs = visible_seqs(lengths, compute_window(len(lengths), sum(lengths), **limits))
    assert len(seqs) <= max_messages
    assert all(seq > visible_from for seq in seqs)
    if visible_from < len(lengths):
        assert seqs == list(range(seqs[0], len(lengths) + 1))
        assert sum(lengths[seq - 1] for seq in seqs[:-1]) <= max_tokens * CHARS_PER_TOKEN
        assert len(seqs) == 1 or sum(lengths[seq - 1] for seq in seqs) <= max_tokens * CHARS_PER_TOKEN


@given(lengths_of_messages, st.integers(2, 40), st.integers(20, 400))
def test_window_uses_half_of_the_budget(lengths: list[int], max_messages: int, max_tokens: int) -> None:
    view = compute_window(len(lengths), sum(lengths), max_messages=max_messages, max_tokens=max_tokens)
    seqs = visible_seqs(lengths, view)
    chars = sum(lengths[seq - 1] for seq in seqs)
    budget = max_tokens * CHARS_PER_TOKEN
    assert len(seqs) == len(lengths) or len(seqs) >= max_messages // 2 or chars >= budget - budget // 2 - max(lengths)


@pytest.mark.parametrize(("max_messages", "most"), [(40, 20), (10, 5), (3, 1), (2, 1)])
def test_window_moves_by_half_of_messages(max_messages: int, most: int) -> None:
    views = [compute_window(last, 0, max_messages=max_messages, max_tokens=1_000) for last in range(1, 1_001)]
    moves = [index for index, (one, other) in enumerate(pairwise(views)) if one != other]
    assert all(later - earlier == most for earlier, later in pairwise(moves))
    assert moves[0] + 1 == max_messages, "nothing is left out before it has to be"


def test_window_moves_by_half_of_characters() -> None:
    views = [compute_window(0, chars, max_messages=40, max_tokens=100).after_chars for chars in range(0, 4_000)]
    assert sorted(set(views)) == views[:1] + list(range(200, 3_601, 200))
    assert views == sorted(views)


def test_window_within_budget_is_everything() -> None:
    assert compute_window(40, 64_000, max_messages=40, max_tokens=16_000) == ContextWindow(after_seq=0, after_chars=0)
    assert compute_window(41, 64_001, max_messages=40, max_tokens=16_000) == ContextWindow(
        after_seq=20, after_chars=32_000
    )


def test_window_respects_visible_from() -> None:
    assert compute_window(41, 0, max_messages=40, max_tokens=100, visible_from=39).after_seq == 39
    assert compute_window(41, 0, max_messages=40, max_tokens=100, visible_from=3).after_seq == 20
