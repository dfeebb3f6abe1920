"""Attempts at one answer of a model: how often it is asked, which models follow when it fails, and what it all costs.

Law: what failed is counted over all attempts of the activity, and carried from one to the next; so neither a killed
worker nor a database that is away counts as a failure of the model.
"""

from datetime import timedelta
from typing import NoReturn

from pydantic import ValidationError
from temporalio.exceptions import ApplicationError

from tertulia.activities.errors import ModelError
from tertulia.activities.heartbeat import carried, carry
from tertulia.core.agents import ModelChoice, ModelSettings
from tertulia.core.base import Record
from tertulia.core.errors import ErrorType, brief
from tertulia.core.usage import Usage

_AT_ONCE = timedelta(milliseconds=1)


class Struggle(Record):
    """What has failed so far for one answer."""

    model: int = 0
    """Which of the agent's models is asked now."""
    failures: int = 0
    """How often that one has failed."""
    all_failures: int = 0
    usage: Usage = Usage()
    """What the unusable answers have cost."""
    trouble: str = ""

    @classmethod
    def so_far(cls, first_model: int) -> "Struggle":
        """What earlier attempts of this activity left, or a beginning with that model."""
        try:
            return cls.model_validate(carried())
        except ValidationError:
            return cls(model=first_model)

    def choice(self, models: ModelSettings) -> ModelChoice:
        """The model to ask now."""
        return models.choices[self.index(models)]

    def index(self, models: ModelSettings) -> int:
        """Its place among the agent's models, which may have become fewer."""
        return min(self.model, len(models.choices) - 1)


class ModelsSpent(Exception):
    """No attempt is left with any model: the failure policy of the group says what follows."""

    def __init__(self, struggle: Struggle) -> None:
        super().__init__(struggle.trouble)
        self.struggle = struggle


def failed(
    error: ModelError, struggle: Struggle, models: ModelSettings, attempts: int, use_fallbacks: bool
) -> NoReturn:
    """Count the failure; let Temporal try again, at once if it is the next model's turn.

    Raises:
        ApplicationError: another attempt follows.
        ModelsSpent: none is left.
    """
    choices, index = models.choices, struggle.index(models)
    failures = struggle.failures + 1
    name = choices[index].model
    trouble = brief(f"{name}: {error}" if name else str(error))
    counted = struggle.model_copy(
        update={
            "failures": failures,
            "all_failures": struggle.all_failures + 1,
            "usage": struggle.usage + error.usage + Usage(model_calls=1 - error.usage.model_calls),
            "trouble": trouble,
        }
    )
    kind = ErrorType.MODEL if error.retryable else ErrorType.MODEL_REFUSED
    if error.retryable and failures < attempts:
        carry(counted.model_dump(mode="json"))
        raise ApplicationError(trouble, type=kind, next_retry_delay=error.retry_after) from None
    if not use_fallbacks or index + 1 >= len(choices):
        raise ModelsSpent(counted) from None
    carry(counted.model_copy(update={"model": index + 1, "failures": 0}).model_dump(mode="json"))
    raise ApplicationError(trouble, type=kind, next_retry_delay=_AT_ONCE) from None
