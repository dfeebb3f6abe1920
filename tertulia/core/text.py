"""Texts of messages: clean-up, passes and previews."""

PASS_ANSWER = "PASS"
"""Answer of a member that has nothing to add."""


def clean_text(text: str, limit: int) -> str:
    """Return `text` in storable form: without NUL, valid Unicode, stripped, at most `limit` characters.

    An ellipsis marks a cut.
    """
    # Models can return NUL and lone surrogates, which Postgres cannot store.
    storable = text.replace("\0", "").encode("utf-8", "replace").decode("utf-8").strip()
    return storable if len(storable) <= limit else storable[: limit - 1] + "…"


def is_pass(text: str) -> bool:
    """Return whether the answer consists of `PASS_ANSWER` only, regardless of case and punctuation."""
    return text.strip(" .!*\"'`\n").upper() == PASS_ANSWER


def strip_own_name(text: str, name: str) -> str:
    """Return `text` without a leading `name:`."""
    # Models imitate the form in which the prompt shows the messages of others.
    prefix = f"{name}:"
    return text[len(prefix) :].lstrip() if text[: len(prefix)].casefold() == prefix.casefold() else text


def make_preview(text: str, chars: int) -> str:
    """Return the first `chars` characters of `text` on one line; empty for 0."""
    # Twice the length is enough for the preview and keeps the cost independent of the text's length.
    line = " ".join(text[: chars * 2].split())
    return line if len(line) <= chars and len(text) <= chars * 2 else line[: max(chars - 1, 0)] + "…" * (chars > 0)
