"""One-line summaries for the Temporal UI."""

MAX_SUMMARY_BYTES = 200
"""The longest summary that Temporal accepts, in UTF-8 bytes."""


def summary(*parts: str) -> str:
    """Join the non-empty parts on one line, cut to `MAX_SUMMARY_BYTES`."""
    line = " · ".join(part for part in parts if part)
    encoded = line.encode()
    if len(encoded) <= MAX_SUMMARY_BYTES:
        return line
    return encoded[: MAX_SUMMARY_BYTES - 3].decode(errors="ignore") + "…"
