"""Counting the calls: how many, by whom, and which exact request was paid for twice. Bounded, however long it runs."""

from collections import Counter, OrderedDict

from pydantic import BaseModel, ConfigDict

MAX_DIGESTS = 100_000
_MAX_NAMES = 10_000
_OTHER_NAMES = "(others)"


class CallCounts(BaseModel):
    """The calls since the start, or since they were zeroed."""

    model_config = ConfigDict(frozen=True)

    total: int
    """Valid requests for a completion, whatever became of them."""
    answered: int
    """Those answered with status 200 while the client was still there."""
    repeated: int
    """Those whose exact body had been answered with 200 before."""
    in_flight: int
    by_model: dict[str, int]
    by_speaker: dict[str, int]


class CallLog:
    """Keeps the count."""

    def __init__(self) -> None:
        self._in_flight = 0
        self.clear_calls()

    def clear_calls(self) -> None:
        """Forget all calls but those in flight."""
        self._total = self._answered_count = self._repeated = 0
        self._by_model: Counter[str] = Counter()
        self._by_speaker: Counter[str] = Counter()
        self._answered: OrderedDict[bytes, None] = OrderedDict()

    def record_start(self, digest: bytes, model: str, speaker: str) -> None:
        """A valid request has come."""
        self._in_flight += 1
        self._total += 1
        self._repeated += digest in self._answered
        _increment(self._by_model, model)
        _increment(self._by_speaker, speaker)

    def record_end(self) -> None:
        """A request is over, whatever became of it."""
        self._in_flight -= 1

    def answered(self, digest: bytes) -> None:
        """A request was answered with 200."""
        self._answered_count += 1
        self._answered[digest] = None
        if len(self._answered) > MAX_DIGESTS:
            self._answered.popitem(last=False)

    def calls(self) -> CallCounts:
        """The count as it stands."""
        return CallCounts(
            total=self._total,
            answered=self._answered_count,
            repeated=self._repeated,
            in_flight=self._in_flight,
            by_model=dict(self._by_model),
            by_speaker=dict(self._by_speaker),
        )


def _increment(counter: Counter[str], name: str) -> None:
    counter[name if name in counter or len(counter) < _MAX_NAMES else _OTHER_NAMES] += 1
