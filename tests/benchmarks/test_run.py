"""The benchmark: a tiny version of it runs, and its numbers are plausible."""

import io
from collections import Counter
from statistics import median

import pytest
from rich.console import Console

from benchmarks.long_conversation import compared_ranges
from benchmarks.plain_loop import skip_like_tertulia, skip_old_messages
from benchmarks.plan import MANAGERS, Plan
from benchmarks.progress import Progress
from benchmarks.prompt_overlap import measure_member_overlap
from benchmarks.results import Report, Run, median_added_ms, paired_ratios
from benchmarks.run import measure
from benchmarks.sample_group import CONTEXT_MESSAGES
from benchmarks.tables import print_report
from tertulia.core.prompt import TranscriptMessage

pytestmark = pytest.mark.slow

PLAN = Plan(
    turns=22,
    warm_up=2,
    conversations=2,
    turns_each=2,
    long_turns=9,
    repeats=1,
    restarts=0,
    groups=1,
    messages=2,
    model_delays_ms=(0, 200),
)


@pytest.fixture(scope="module")
async def report() -> Report:
    console = Console(file=io.StringIO())
    with Progress(console) as progress:
        return await measure(PLAN, progress)


def runs(report: Report) -> list[Run]:
    repetitions = [one for scenario in report.scenarios for one in scenario.repetitions]
    return [run for one in repetitions for run in (one.loop, one.ours)]


def test_both_manager_types_are_measured(report: Report) -> None:
    seen = Counter((scenario.manager, scenario.conversations) for scenario in report.scenarios)
    assert seen == {(manager, conversations): 1 for manager in MANAGERS for conversations in (1, 2)}
    for run in runs(report):
        assert 0.1 < run.ms_a_turn < 5_000
        assert run.turns_per_second == pytest.approx(1_000 / run.ms_a_turn)


def test_model_calls_per_turn(report: Report) -> None:
    for scenario in report.scenarios:
        for run in (scenario.repetitions[0].loop, scenario.repetitions[0].ours):
            assert run.model_calls == pytest.approx(1 if scenario.manager == "round_robin" else 2, rel=0.3)


def test_durability_cost_is_attributed(report: Report) -> None:
    ratios = [paired_ratios(scenario, lambda run: run.ms_a_turn)[0] for scenario in report.scenarios]
    assert median(ratios) > 1
    for length in report.lengths:
        assert length.cpu_ms["worker"] > 0
        assert length.cpu_ms["temporal"] > 0


def test_same_prompts_send_same_tokens(report: Report) -> None:
    """So the rebuilt prompts are those that the worker sends, also when the window has moved."""
    assert PLAN.turns + PLAN.warm_up > CONTEXT_MESSAGES
    for scenario in report.scenarios:
        one = scenario.repetitions[0]
        if one.same_prompts is not None:
            assert one.same_prompts.prompt_tokens == pytest.approx(one.ours.prompt_tokens, rel=0.02)


def test_long_conversation_size_is_measured(report: Report) -> None:
    for length in report.lengths:
        activities = 1 if length.manager == "round_robin" else 2
        # Scheduled, started, completed; and the same for the workflow task that follows.
        assert length.end.history_events == pytest.approx(6 * activities)
        assert 0 < length.end.history_bytes * PLAN.long_turns < length.history_bytes * 2
        assert length.workflow_runs == 1
        assert 0 <= length.loop_prompts.median <= 1
        assert (length.manager_prompts is not None) == (length.manager == "dynamic")


def test_group_message_is_compared_with_loop(report: Report) -> None:
    assert report.service is not None
    at_once, slow = report.service.talks
    assert [len(at_once.first), len(at_once.following)] == [PLAN.groups, PLAN.groups * PLAN.messages]
    for exchange in (*slow.first, *slow.following):
        assert exchange.loop_ms > 4 * slow.delay_ms
    assert median_added_ms(at_once.following) > 0, "durability costs something"
    assert median(one.ours_ms for one in slow.following) > 4 * slow.delay_ms


def test_agent_creation_is_timed(report: Report) -> None:
    assert report.service is not None
    assert len(report.service.agents_ms) == 4 * PLAN.groups * len(PLAN.model_delays_ms)
    assert all(0.1 < one < 10_000 for one in report.service.agents_ms)


async def test_unplanned_scenarios_are_left_out() -> None:
    with Progress(Console(file=io.StringIO())) as progress:
        report = await measure(PLAN.model_copy(update={"repeats": 0, "long_turns": 0, "groups": 0}), progress)
    assert (report.scenarios, report.lengths, report.service) == ((), (), None)
    print_report(Console(file=io.StringIO()), report)


def test_report_prints_and_round_trips(report: Report) -> None:
    out = Console(file=io.StringIO(), width=140)
    print_report(out, report)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "turns a second, 2 at once, dynamic" in text
    assert "to reach" in text
    assert "first message to 4 members, models answer in 200 ms" in text
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_stretches_do_not_overlap() -> None:
    assert compared_ranges(2_000) == ((51, 150), (1_901, 2_000))
    for turns in range(3, 400):
        (_, beginning_ends), (end_begins, end) = compared_ranges(turns)
        assert beginning_ends < end_begins <= end == turns


def test_stepped_window_keeps_prompt_prefix() -> None:
    members = ("bench-velma", "bench-bruno", "bench-celeste", "bench-ines")
    transcript = [TranscriptMessage(sender_id=None, sender="Narrator", text="Begin.")]
    transcript += [
        TranscriptMessage(sender_id=members[turn % 4], sender=members[turn % 4], text=f"Words number {turn}.")
        for turn in range(200)
    ]
    assert (
        measure_member_overlap(transcript, skip_like_tertulia).median
        > measure_member_overlap(transcript, skip_old_messages).median + 0.2
    )
