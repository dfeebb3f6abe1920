"""The numbers, and the few ways in which one is made out of several. This is what `--json` writes."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TypeAlias

from benchmarks.plan import ManagerType, Plan
from tertulia.core.base import Record

REPORTED_TURNS = 500
"""For how many turns storage is reported."""


class BenchmarkFailed(Exception):
    """What was to be measured did not happen as planned."""


class Run(Record):
    """One measured run of one or several conversations, warm-up excluded."""

    ms_a_turn: float
    """Wall time; of several conversations at once, from one turn of any to the next of any."""
    turns_per_second: float
    cpu_ms: Mapping[str, float]
    """CPU milliseconds a turn, by program."""
    prompt_tokens: float
    """A turn, the manager's prompts included."""
    model_calls: float
    """A turn, as the model counted them."""


class Repetition(Record):
    """The same work done by each side, one right after the other."""

    loop: Run
    ours: Run
    same_prompts: Run | None = None
    """The loop again, with prompts that hold exactly what Tertulia's hold; only of a conversation that is alone."""


class Scenario(Record):
    """Some conversations at once, under one kind of manager."""

    manager: ManagerType
    conversations: int
    repetitions: tuple[Repetition, ...]


class TurnRange(Record):
    """Some consecutive turns of a long conversation."""

    from_turn: int
    to_turn: int
    ms_a_turn: float
    """The median of the times from one turn to the next."""
    mean_ms_a_turn: float
    history_events: float
    """A turn."""
    history_bytes: float
    """A turn."""


class PromptOverlap(Record):
    """How much of a prompt equals the front of the same agent's previous one, from 0 to 1: what a cache can save."""

    median: float
    mean: float


class LongConversation(Record):
    """One long conversation."""

    manager: ManagerType
    turns: int
    seconds: float
    beginning: TurnRange
    end: TurnRange
    workflow_runs: int
    """1 more than it continued as new."""
    history_events: int
    history_bytes: int
    postgres_bytes: int
    """Growth of the tables and their indexes."""
    temporal_bytes: int
    """Growth of the server's database, its write-ahead log included."""
    cpu_ms: Mapping[str, float]
    """CPU milliseconds a turn, by program."""
    prompt_tokens: float
    """A turn."""
    model_calls: float
    """A turn."""
    members_prompts: PromptOverlap
    loop_prompts: PromptOverlap
    """The same, had the plain loop asked: its window moves with every message."""
    manager_prompts: PromptOverlap | None = None


class Exchange(Record):
    """A message to a group and all that its members said to it, by each side."""

    loop_ms: float
    """The models' own time: a bare loop that asks them, and nothing else."""
    ours_ms: float
    """From the request to the API until its answer."""


class MessageRun(Record):
    """Messages to groups over HTTP, while the model waits so long before each answer."""

    delay_ms: int
    first: tuple[Exchange, ...]
    """The first message to each of several new groups: it starts a conversation."""
    following: tuple[Exchange, ...]
    """All others."""


class Service(Record):
    """What one client of the API waits for."""

    members: int
    """Of each group; all of them speak once to each message."""
    agents_ms: tuple[float, ...]
    """How long the creation of each agent took."""
    talks: tuple[MessageRun, ...]


class Machine(Record):
    """Where it ran."""

    system: str
    cores: int
    memory_gb: float
    load: float
    """The load average of the last minute, before the benchmark began."""
    python: str
    temporal: str
    temporalio: str
    postgres: str
    openai: str


class Report(Record):
    """Everything that was measured."""

    plan: Plan
    machine: Machine
    scenarios: tuple[Scenario, ...]
    lengths: tuple[LongConversation, ...]
    restart_seconds: tuple[float, ...]
    seconds: float
    """How long all of it took."""
    service: Service | None = None


def median_added_ms(exchanges: Sequence[Exchange]) -> float:
    """What the service adds to the models' own time: each message is compared with the loop's just before it."""
    return median(one.ours_ms - one.loop_ms for one in exchanges)


Metric: TypeAlias = Callable[[Run], float]


def median_of(runs: Sequence[Run], metric: Metric) -> float:
    """The median of one number over several runs."""
    return median(metric(run) for run in runs)


def paired_ratios(scenario: Scenario, metric: Metric, *, same_prompts: bool = False) -> list[float]:
    """Tertulia's number over the loop's, within each repetition: what disturbs one disturbs the other."""
    pairs = ((one.ours, one.same_prompts if same_prompts else one.loop) for one in scenario.repetitions)
    return [metric(ours) / metric(loop) for ours, loop in pairs if loop is not None]
