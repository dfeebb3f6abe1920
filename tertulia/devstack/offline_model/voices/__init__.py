"""The voices of the offline model: prose in YAML, and what reads it."""

from tertulia.devstack.offline_model.voices.stock import NEUTRAL, Line, Lines, Table, Voice, table, voice_for, voices

__all__ = ["NEUTRAL", "Line", "Lines", "Table", "Voice", "table", "voice_for", "voices"]
