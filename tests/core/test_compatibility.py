"""Values that the previous version wrote are read, and what this version writes is readable by the previous one.

`fixtures/previous_version.json` holds activity arguments, activity results and a state that continued as new, taken
from histories that version 0.1.0 recorded.
"""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, JsonValue, ValidationError

from tertulia.core import activity_contracts, health, records, roster, state
from tertulia.core.base import Record, wire_names
from tertulia.core.state import RULES_VERSION, STATE_VERSION, ConversationState
from tertulia.core.state_machine import decide

WRITTEN: dict[str, JsonValue] = json.loads(
    (Path(__file__).parent / "fixtures" / "previous_version.json").read_text(encoding="utf-8")
)
MODULES = (activity_contracts, health, records, roster, state)
CLASSES: dict[str, type[BaseModel]] = {
    name: kind
    for module in MODULES
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, Record) and kind.__module__ == module.__name__
}
RENAMED = [
    (kind, name, field.serialization_alias)
    for kind in CLASSES.values()
    for name, field in kind.model_fields.items()
    if field.serialization_alias
]


def assert_contains(new: JsonValue, old: JsonValue, path: str = "") -> None:
    """Assert that every field of `old` is in `new` with the same value; `new` may have further fields."""
    if isinstance(old, dict):
        assert isinstance(new, dict), path
        for name, value in old.items():
            assert name in new, f"{path}.{name}"
            assert_contains(new[name], value, f"{path}.{name}")
    elif isinstance(old, list):
        assert isinstance(new, list) and len(new) == len(old), path
        for index, value in enumerate(old):
            assert_contains(new[index], value, f"{path}.{index}")
    else:
        assert new == old, path


@pytest.mark.parametrize("name", WRITTEN)
def test_previous_value_is_read_and_written_alike(name: str) -> None:
    value = CLASSES[name].model_validate(WRITTEN[name])
    assert_contains(json.loads(value.model_dump_json()), WRITTEN[name], name)
    assert_contains(value.model_dump(mode="json"), WRITTEN[name], name)


def test_previous_state_continues() -> None:
    loaded = ConversationState.model_validate(WRITTEN["ConversationState"])
    assert loaded.rules_version == 1
    assert loaded.baseline is not None and loaded.baseline.revision == 1
    assert loaded.announced_phase == "executing"
    assert loaded.recent_turns[1].error.endswith("The server had an error")
    assert loaded.roster.managers[0].health.state == "isolated"
    assert type(decide(loaded)).__name__ == "TakeTurn"


def test_previous_results_keep_their_meaning() -> None:
    turn = activity_contracts.TurnResult.model_validate(WRITTEN["TurnResult"])
    assert turn.error and turn.text_preview
    choice = activity_contracts.ChooseSpeakerResult.model_validate(WRITTEN["ChooseSpeakerResult"])
    assert choice.error and choice.reason and choice.speaker
    posts = activity_contracts.RecordPostsInput.model_validate(WRITTEN["RecordPostsInput"])
    assert posts.round_start is not None


@pytest.mark.parametrize(("kind", "name", "wire"), RENAMED, ids=lambda value: str(getattr(value, "__name__", value)))
def test_renamed_field_keeps_its_wire_name(kind: type[BaseModel], name: str, wire: str) -> None:
    value = kind.model_construct().model_copy(update={name: "x"})
    assert value.model_dump(include={name}, warnings=False) == {wire: "x"}
    assert wire in wire_names(kind) and name not in wire_names(kind)
    assert kind.model_fields[name].validation_alias == wire, "the old name is read"
    assert kind.model_config.get("populate_by_name"), "so is the new one"


def test_both_names_are_read() -> None:
    for wire in ("model", "fallback_index"):
        assert health.Health.model_validate({wire: 2}) == health.Health(fallback_index=2)


@pytest.mark.parametrize(
    ("field", "known"), [("version", STATE_VERSION), ("rules_version", RULES_VERSION)], ids=["form", "rules"]
)
def test_newer_state_is_not_read(field: str, known: int) -> None:
    assert ConversationState.model_validate({"group": "g", field: known})
    with pytest.raises(ValidationError, match=f"{known + 1} is newer than {known}.*upgrade the worker"):
        ConversationState.model_validate({"group": "g", field: known + 1})


def test_state_without_rules_version_has_rules_1() -> None:
    assert ConversationState.model_validate({"group": "g"}).rules_version == 1
