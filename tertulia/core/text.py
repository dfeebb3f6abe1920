"""What may stand in a transcript, and how much of it a reader of the Temporal UI sees."""

PASS_ANSWER = "PASS"
"""What a member answers that has nothing to add."""


def clean_text(text: str, limit: int) -> str:
    """`text` as it can be stored: no NUL, valid Unicode, no blank ends, `limit` characters at most (an ellipsis ends a
    text that was cut)."""
    storable = text.replace("\0", "").encode("utf-8", "replace").decode("utf-8").strip()
    return storable if len(storable) <= limit else storable[: limit - 1] + "…"


def is_pass(text: str) -> bool:
    """Whether a member's whole answer is that it passes."""
    return text.strip(" .!*\"'`\n").upper() == PASS_ANSWER


def strip_own_name(text: str, name: str) -> str:
    """`text` less the speaker's name and colon before it: models imitate the form in which they read the others."""
    prefix = f"{name}:"
    return text[len(prefix) :].lstrip() if text[: len(prefix)].casefold() == prefix.casefold() else text


def make_preview(text: str, chars: int) -> str:
    """The first `chars` characters of `text` on one line; nothing at all for 0."""
    line = " ".join(text[: chars * 2].split())
    return line if len(line) <= chars and len(text) <= chars * 2 else line[: max(chars - 1, 0)] + "…" * (chars > 0)
