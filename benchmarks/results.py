"""The results and the ratios made of them. This is what `--json` writes."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TypeAlias

from benchmarks.plan import ManagerType, Plan
from tertulia.core.base import Record

REPORTED_TURNS = 500
"""The number of turns for which storage is reported."""


class BenchmarkFailed(Exception):
    """A measurement did not run as planned."""


class Run(Record):
    """One measured run of one or several conversations, without the warm-up."""

    ms_a_turn: float
    """Wall time per turn; of concurrent conversations, from one turn of any to the next of any."""
    turns_per_second: float
    cpu_ms: Mapping[str, float]
    """CPU milliseconds per turn, by program."""
    prompt_tokens: float
    """Per turn, including the manager's prompts."""
    model_calls: float
    """Per turn, as counted by the model."""


class Repetition(Record):
    """The same work done by each side, one directly after the other."""

    loop: Run
    ours: Run
    same_prompts: Run | None = None
    """The loop again, with exactly the prompts of Tertulia; only for a single conversation."""


class Scenario(Record):
    """Concurrent conversations under one manager type."""

    manager: ManagerType
    conversations: int
    repetitions: tuple[Repetition, ...]


class TurnRange(Record):
    """Consecutive turns of a long conversation."""

    from_turn: int
    to_turn: int
    ms_a_turn: float
    """Median time from one turn to the next."""
    mean_ms_a_turn: float
    history_events: float
    """Per turn."""
    history_bytes: float
    """Per turn."""


class PromptOverlap(Record):
    """Share of a prompt that equals the front of the same agent's previous one, 0 to 1: the part a cache can save."""

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
    """Number of continue-as-new, plus 1."""
    history_events: int
    history_bytes: int
    postgres_bytes: int
    """Growth of the tables and their indexes."""
    temporal_bytes: int
    """Growth of the server's database, including its write-ahead log."""
    cpu_ms: Mapping[str, float]
    """CPU milliseconds per turn, by program."""
    prompt_tokens: float
    """Per turn."""
    model_calls: float
    """Per turn."""
    members_prompts: PromptOverlap
    loop_prompts: PromptOverlap
    """The same for prompts of the plain loop, whose window moves with every message."""
    manager_prompts: PromptOverlap | None = None


class Exchange(Record):
    """A message to a group and all answers of its members, by each side."""

    loop_ms: float
    """The models' own time: a bare loop that calls them and does nothing else."""
    ours_ms: float
    """From the request to the API until its answer."""


class MessageRun(Record):
    """Messages to groups over HTTP, with this delay of the model."""

    delay_ms: int
    first: tuple[Exchange, ...]
    """The first message to each of several new groups, which starts a conversation."""
    following: tuple[Exchange, ...]
    """All further messages."""


class Service(Record):
    """Waiting times of a client of the API."""

    members: int
    """Members per group; all of them speak once per message."""
    agents_ms: tuple[float, ...]
    """Duration of each creation of an agent."""
    talks: tuple[MessageRun, ...]


class Machine(Record):
    """The machine of the run."""

    system: str
    cores: int
    memory_gb: float
    load: float
    """Load average of the last minute before the benchmark."""
    python: str
    temporal: str
    temporalio: str
    postgres: str
    openai: str


class Report(Record):
    """All results."""

    plan: Plan
    machine: Machine
    scenarios: tuple[Scenario, ...]
    lengths: tuple[LongConversation, ...]
    restart_seconds: tuple[float, ...]
    seconds: float
    """Duration of the benchmark."""
    service: Service | None = None


def median_added_ms(exchanges: Sequence[Exchange]) -> float:
    """Return the median time that the service adds: each message is compared with the loop's just before it."""
    return median(one.ours_ms - one.loop_ms for one in exchanges)


Metric: TypeAlias = Callable[[Run], float]


def median_of(runs: Sequence[Run], metric: Metric) -> float:
    """Return the median of one number over several runs."""
    return median(metric(run) for run in runs)


def paired_ratios(scenario: Scenario, metric: Metric, *, same_prompts: bool = False) -> list[float]:
    """Return Tertulia's number over the loop's within each repetition, so that a disturbance affects both."""
    pairs = ((one.ours, one.same_prompts if same_prompts else one.loop) for one in scenario.repetitions)
    return [metric(ours) / metric(loop) for ours, loop in pairs if loop is not None]
