"""The voices of the offline model: text in YAML files, and their reader."""

from tertulia.devstack.offline_model.voices.stock import (
    NEUTRAL,
    Line,
    Lines,
    SharedLines,
    Voice,
    find_voice,
    shared_lines,
    voices,
)

__all__ = ["NEUTRAL", "Line", "Lines", "SharedLines", "Voice", "find_voice", "shared_lines", "voices"]
