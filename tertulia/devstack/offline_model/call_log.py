"""Count calls: in total, by speaker, and repeated ones. Memory is bounded."""

from collections import Counter, OrderedDict

from pydantic import BaseModel, ConfigDict

MAX_DIGESTS = 100_000
_MAX_NAMES = 10_000
_OTHER_NAMES = "(others)"


class CallCounts(BaseModel):
    """Calls since the start, or since the counts were cleared."""

    model_config = ConfigDict(frozen=True)

    total: int
    """Valid requests for a completion, whatever their result."""
    answered: int
    """Requests answered with status 200 while the client was connected."""
    repeated: int
    """Requests whose exact body had been answered with 200 before."""
    in_flight: int
    by_model: dict[str, int]
    by_speaker: dict[str, int]


class CallLog:
    """Counts calls."""

    def __init__(self) -> None:
        self._in_flight = 0
        self.clear_calls()

    def clear_calls(self) -> None:
        """Clear all counts but those of calls in flight."""
        self._total = self._answered_count = self._repeated = 0
        self._by_model: Counter[str] = Counter()
        self._by_speaker: Counter[str] = Counter()
        self._answered: OrderedDict[bytes, None] = OrderedDict()

    def record_start(self, digest: bytes, model: str, speaker: str) -> None:
        """Record that a valid request arrived."""
        self._in_flight += 1
        self._total += 1
        self._repeated += digest in self._answered
        _increment(self._by_model, model)
        _increment(self._by_speaker, speaker)

    def record_end(self) -> None:
        """Record that a request ended, whatever its result."""
        self._in_flight -= 1

    def answered(self, digest: bytes) -> None:
        """Record that a request was answered with 200."""
        self._answered_count += 1
        self._answered[digest] = None
        if len(self._answered) > MAX_DIGESTS:
            self._answered.popitem(last=False)

    def calls(self) -> CallCounts:
        """Return the counts."""
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
