"""The offline model's wire format, faults and counts, without a server."""

import json

import pytest

from tertulia.devstack.offline_model.answers import Answer, ToolCall, answer
from tertulia.devstack.offline_model.call_log import MAX_DIGESTS, CallLog
from tertulia.devstack.offline_model.faults import (
    UNKNOWN_CANDIDATE,
    Behaviour,
    Fault,
    FaultInjector,
    FaultKind,
    FaultTarget,
    Match,
    apply_fault,
)
from tertulia.devstack.offline_model.protocol import ChatRequest, InvalidRequest, parse_request
from tertulia.devstack.offline_model.responses import completion_body, stream

ASKED = FaultTarget("m", "Velma", frozenset({"paint"}))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"messages": [{"role": "user", "content": "a"}]}', "model"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": [{"role": "cat", "content": "a"}]}', "messages.0.role"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "max_tokens": 0}', "max_tokens"),
    ],
)
def test_parse_request_malformed_names_field(body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request(body)

    assert refused.value.param == param
    assert refused.value.status == 400


def test_parse_request_ignores_unknown_fields() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]
    request = chat(content=parts, temperature=0.3, metadata={"a": "b"})

    assert request.messages[0].text == "a"


def test_token_limit_cuts_speech() -> None:
    given, _ = answer(chat(max_completion_tokens=5), bytes(16))

    assert given.finish_reason == "length"
    assert len(given.text or "") == 20


def test_usage_is_four_characters_a_token() -> None:
    body = json.loads(completion_body(chat(content="x" * 400), "1", Answer("y" * 41)))

    assert body["usage"] == {
        "prompt_tokens": 100,
        "completion_tokens": 11,
        "total_tokens": 111,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


@pytest.mark.parametrize("text", ["", "one", "two  spaces and\na line", " leading"])
def test_stream_chunks_join_to_text(text: str) -> None:
    events = [json.loads(event[6:]) for event in stream(chat(), "1", Answer(text)) if b"[DONE]" not in event]

    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == text
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


def test_first_matching_fault_is_used() -> None:
    conduct = FaultInjector(delay_ms=7)
    other = Fault(kind="hang", match=Match(speaker="Tomas"))
    twice = Fault(kind="server_error", match=Match(model="m", speaker="velma", tool="paint"), times=2)
    conduct.set_behaviour(Behaviour(faults=(other, twice, Fault(kind="empty", times=1))))

    struck = [conduct.take_fault(ASKED) for _ in range(4)]

    assert [fault and fault.kind for fault in struck] == ["server_error", "server_error", "empty", None]
    assert conduct.behaviour == Behaviour(delay_ms=7, faults=(other,))
    assert conduct.take_fault(FaultTarget("m", "Tomas", frozenset())) == other


def test_fault_without_times_lasts_until_reset() -> None:
    conduct = FaultInjector()
    conduct.set_behaviour(Behaviour(delay_ms=50, faults=(Fault(kind="slow", delay_ms=2_000),)))

    fault = [conduct.take_fault(ASKED) for _ in range(50)][-1]
    assert fault is not None and conduct.delay_seconds(fault) == 2
    assert conduct.delay_seconds(None) == 0.05

    conduct.reset()
    assert conduct.take_fault(ASKED) is None
    assert conduct.delay_seconds(None) == 0


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [("empty", "", "stop"), ("truncated", "one ", "length"), ("content_filter", "", "content_filter")],
)
def test_fault_changes_answer(kind: FaultKind, text: str, reason: str) -> None:
    spoilt = apply_fault(Answer("one two."), Fault(kind=kind), "participant")

    assert (spoilt.text, spoilt.finish_reason) == (text, reason)


@pytest.mark.parametrize("size", [1, 10, 5_000])
def test_oversize_fault_has_exact_size(size: int) -> None:
    assert len((apply_fault(Answer("añb"), Fault(kind="oversize", size=size), "x").text or "").encode()) == size


def test_bad_choice_fault_names_nobody() -> None:
    call = ToolCall("choose_next_participant", '{"participant": "Velma", "reason": "r"}')
    spoilt = apply_fault(Answer(None, call, "tool_calls"), Fault(kind="bad_choice"), "participant")

    assert spoilt.call and json.loads(spoilt.call.arguments)["participant"] == UNKNOWN_CANDIDATE
    assert apply_fault(Answer("words"), Fault(kind="bad_choice"), "participant") == Answer("words")


def test_call_log_counts_repeated_calls() -> None:
    ledger = CallLog()
    for _ in range(2):
        ledger.record_start(b"a", "m", "Velma")
        ledger.record_end()
    for _ in range(2):
        ledger.record_start(b"b", "m", "Tomas")
        ledger.answered(b"b")
        ledger.record_end()
    ledger.record_start(b"c", "n", "Tomas")

    calls = ledger.calls()

    assert (calls.total, calls.answered, calls.repeated, calls.in_flight) == (5, 2, 1, 1)
    assert calls.by_model == {"m": 4, "n": 1}
    assert calls.by_speaker == {"Velma": 2, "Tomas": 3}

    ledger.clear_calls()
    assert ledger.calls().total == 0
    assert ledger.calls().in_flight == 1


def test_call_log_size_is_bounded() -> None:
    ledger = CallLog()
    for number in range(MAX_DIGESTS + 1):
        ledger.answered(b"%d" % number)
    ledger.record_start(b"0", "m", "")
    ledger.record_start(b"%d" % MAX_DIGESTS, "m", "")

    assert ledger.calls().repeated == 1


def chat(content: object = "Hm", **fields: object) -> ChatRequest:
    return ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": content}], **fields})
