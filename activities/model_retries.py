"""Attempts at one answer of a model: how often it is asked, which models follow when it fails, and what it all costs.

Law: what failed is counted over all attempts of the activity, and carried from one to the next; so neither a killed
worker nor a database that is away counts as a failure of the model.
"""

from datetime import timedelta
from typing import NoReturn

from pydantic import ValidationError
from temporalio.exceptions import ApplicationError

from tertulia.activities.errors import ModelError
from tertulia.activities.heartbeat import load_heartbeat_details, save_heartbeat_details
from tertulia.core.agents import ModelChoice, ModelSettings
from tertulia.core.base import Record
from tertulia.core.errors import ErrorType, truncate
from tertulia.core.usage import Usage

_NO_DELAY = timedelta(milliseconds=1)


class RetryState(Record):
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
    def current(cls, first_model: int) -> "RetryState":
        """What earlier attempts of this activity left, or a beginning with that model."""
        try:
            return cls.model_validate(load_heartbeat_details())
        except ValidationError:
            return cls(model=first_model)

    def current_model(self, models: ModelSettings) -> ModelChoice:
        """The model to ask now."""
        return models.choices[self.current_index(models)]

    def current_index(self, models: ModelSettings) -> int:
        """Its place among the agent's models, which may have become fewer."""
        return min(self.model, len(models.choices) - 1)


class ModelsExhausted(Exception):
    """No attempt is left with any model: the failure policy of the group says what follows."""

    def __init__(self, retry_state: RetryState) -> None:
        super().__init__(retry_state.trouble)
        self.retry_state = retry_state


def raise_next_attempt(
    error: ModelError, retry_state: RetryState, models: ModelSettings, attempts: int, use_fallbacks: bool
) -> NoReturn:
    """Count the failure; let Temporal try again, at once if it is the next model's turn.

    Raises:
        ApplicationError: another attempt follows.
        ModelsSpent: none is left.
    """
    choices, current_index = models.choices, retry_state.current_index(models)
    failures = retry_state.failures + 1
    name = choices[current_index].model
    trouble = truncate(f"{name}: {error}" if name else str(error))
    updated = retry_state.model_copy(
        update={
            "failures": failures,
            "all_failures": retry_state.all_failures + 1,
            "usage": retry_state.usage + error.usage + Usage(model_calls=1 - error.usage.model_calls),
            "trouble": trouble,
        }
    )
    error_type = ErrorType.MODEL_FAILED if error.retryable else ErrorType.MODEL_REFUSED
    if error.retryable and failures < attempts:
        save_heartbeat_details(updated.model_dump(mode="json"))
        raise ApplicationError(trouble, type=error_type, next_retry_delay=error.retry_after) from None
    if not use_fallbacks or current_index + 1 >= len(choices):
        raise ModelsExhausted(updated) from None
    save_heartbeat_details(
        updated.model_copy(update={"model": current_index + 1, "failures": 0}).model_dump(mode="json")
    )
    raise ApplicationError(trouble, type=error_type, next_retry_delay=_NO_DELAY) from None
