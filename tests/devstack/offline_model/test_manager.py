"""The offline model as a manager and as a caller of tools: selections, finishing, values for schemas."""

import json

import pytest
from pydantic import JsonValue

from tertulia.devstack.offline_model.answers import answer
from tertulia.devstack.offline_model.protocol import ChatRequest, InvalidRequest

DIGEST = bytes(range(16))
SYSTEM = "You manage the talk.\nHere now: Velma, Tomas, Rosa, Ilse"
Log = list[tuple[str, str]]


def test_manager_chooses_addressed_member() -> None:
    name, arguments = manager_decision(
        [("User", "Well?"), ("Rosa", "Hm."), ("Velma", "Rosa is right. Tomas, would it hold?")]
    )

    assert (name, arguments["participant"]) == ("choose_next_participant", "Tomas")
    assert arguments["reason"] == "Velma asked Tomas directly"


def test_manager_ignores_answered_member() -> None:
    _, arguments = manager_decision(
        [("User", "Well?"), ("Velma", "No."), ("Tomas", "Ah."), ("Rosa", "Tomas goes too fast for me.")]
    )

    assert arguments["participant"] == "Ilse"
    assert "not been heard yet" in str(arguments["reason"])


def test_manager_chooses_named_member() -> None:
    _, arguments = manager_decision(
        [("User", "Well?"), ("Velma", "No."), ("Tomas", "Ask me in May, and let Ilse draw it.")]
    )

    assert arguments["participant"] == "Ilse"


def test_manager_follows_outside_request() -> None:
    _, arguments = manager_decision(
        [("Velma", "No."), ("Rosa", "Yes."), ("User", "I would like more of what Rosa said")]
    )

    assert arguments["participant"] == "Rosa"


def test_manager_chooses_longest_silent() -> None:
    log = [("User", "Well?"), ("Velma", "A."), ("Ilse", "B."), ("Rosa", "C."), ("Tomas", "D."), ("Ilse", "E.")]
    _, arguments = manager_decision(log)

    assert arguments["participant"] == "Velma"
    assert arguments["reason"] == "Velma has not been heard since Ilse answered, 4 messages ago"


def test_manager_chooses_among_candidates() -> None:
    _, arguments = manager_decision(
        [("User", "Well?"), ("Velma", "Zoe, what do you say? Or you, Rosa?")], candidates=["Ilse"]
    )

    assert arguments["participant"] == "Ilse"


@pytest.mark.parametrize(("turns", "called"), [(3, "choose_next_participant"), (4, "finish"), (9, "finish")])
def test_manager_finishes_when_instructed(turns: int, called: str) -> None:
    log = [("Velma", "Early."), ("User", "Well?"), *[("Rosa", f"Word {n}.") for n in range(turns)]]
    name, arguments = manager_decision(log, system=f"{SYSTEM}\nFinish after about four turns.")

    assert name == called
    assert str(turns) in str(arguments["reason"]) or called != "finish"


def test_manager_without_finish_tool_chooses() -> None:
    log = [("User", "Well?"), *[("Rosa", f"Word {n}.") for n in range(9)]]
    name, _ = manager_decision(log, system=f"{SYSTEM}\nFinish after two turns.", tools=["choose_next_participant"])

    assert name == "choose_next_participant"


def test_manager_reads_single_message_log() -> None:
    body = request(SYSTEM, [], extra={"role": "user", "content": "User: Well?\nVelma: A.\nRosa: Tomas, and you?"})
    given, _ = answer(body, DIGEST)

    assert given.call and json.loads(given.call.arguments)["participant"] == "Tomas"


def test_forced_tool_arguments_fit_schema() -> None:
    parameters: dict[str, JsonValue] = {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "green"]},
            "count": {"type": "integer", "minimum": 3, "maximum": 4},
            "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "words": {"type": "string", "maxLength": 5},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
            "sure": {"type": ["boolean", "null"]},
            "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "when": {"type": "string", "format": "date"},
        },
        "$defs": {"tag": {"const": "x"}},
    }
    made = forced_call_arguments("paint", parameters)

    assert made["colour"] in ("red", "green")
    assert made["count"] in (3, 4)
    assert isinstance(made["share"], float) and 0 < made["share"] <= 1
    assert isinstance(made["words"], str) and 0 < len(made["words"]) <= 5
    assert made["tags"] == ["x", "x"]
    assert made["sure"] is True
    assert isinstance(made["maybe"], int)
    assert made["when"] == "2024-05-01"


def test_required_arguments_only_and_recursion() -> None:
    properties: JsonValue = {"next": {"$ref": "#"}, "note": {"type": "string"}}
    node: dict[str, JsonValue] = {"type": "object", "properties": properties}

    assert "next" in forced_call_arguments("link", node)
    assert list(forced_call_arguments("link", {**node, "required": ["note"]})) == ["note"]


@pytest.mark.parametrize(("words", "called"), [("Please use the tool paint.", True), ("Shall we paint?", False)])
def test_optional_tool_is_called_on_request(words: str, called: bool) -> None:
    body = request("You are Velma.", [("User", words)], tools=["paint"], choice="auto")
    given, _ = answer(body, DIGEST)

    assert (given.call is not None) == called
    assert given.finish_reason == ("tool_calls" if called else "stop")


def test_forced_unknown_tool_is_refused() -> None:
    forced: JsonValue = {"type": "function", "function": {"name": "sing"}}

    with pytest.raises(InvalidRequest, match="sing"):
        answer(request("You are Velma.", [("User", "Hm")], tools=["paint"], choice=forced), DIGEST)


def test_structured_answer_fits_schema() -> None:
    body = request("You are Velma.", [("User", "Hm")]).model_dump(by_alias=True)
    schema = {"type": "object", "properties": {"verdict": {"enum": ["yes"]}}}
    body["response_format"] = {"type": "json_schema", "json_schema": {"name": "v", "schema": schema}}
    body["tools"] = body["tool_choice"] = None
    given, _ = answer(ChatRequest.model_validate(body), DIGEST)

    assert json.loads(given.text or "") == {"verdict": "yes"}


def manager_decision(
    log: Log,
    *,
    system: str = SYSTEM,
    candidates: list[str] | None = None,
    tools: list[str] | None = None,
) -> tuple[str, dict[str, JsonValue]]:
    names = candidates or [name for name in ("Velma", "Tomas", "Rosa", "Ilse") if name != log[-1][0]]
    given, _ = answer(request(system, log, tools=tools or ["choose_next_participant", "finish"], names=names), DIGEST)
    assert given.call
    return given.call.name, json.loads(given.call.arguments)


def forced_call_arguments(name: str, parameters: dict[str, JsonValue]) -> dict[str, JsonValue]:
    body = request("You are Velma.", [("User", "A long talk about the harbour wall")]).model_dump(by_alias=True)
    body["tools"] = [{"type": "function", "function": {"name": name, "parameters": parameters}}]
    given, _ = answer(ChatRequest.model_validate(body), DIGEST)
    assert given.call and given.call.name == name
    arguments: dict[str, JsonValue] = json.loads(given.call.arguments)
    return arguments


def request(
    system: str,
    log: Log,
    *,
    tools: list[str] | None = None,
    names: list[str] | None = None,
    choice: JsonValue = "required",
    extra: dict[str, str] | None = None,
) -> ChatRequest:
    reason: JsonValue = {"type": "string"}
    enum: JsonValue = {"type": "string", "enum": [*(names or ["Velma", "Tomas", "Rosa", "Ilse"])]}
    parameters: dict[str, JsonValue] = {
        "choose_next_participant": {"type": "object", "properties": {"participant": enum, "reason": reason}},
    }
    offered = tools or ["choose_next_participant", "finish"]
    plain: JsonValue = {"type": "object", "properties": {"reason": reason}}
    messages = [{"role": "system", "content": system}]
    messages += [{"role": "user", "content": f"{name}: {text}"} for name, text in log]
    return ChatRequest.model_validate(
        {
            "model": "m",
            "messages": [*messages, *([extra] if extra else [])],
            "tools": [
                {"type": "function", "function": {"name": name, "parameters": parameters.get(name, plain)}}
                for name in offered
            ],
            "tool_choice": choice,
        }
    )
