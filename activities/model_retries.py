"""Retries of one model answer: attempts per model, fallback models, and the cost of failed attempts.

Invariant: failures of the model are counted in the heartbeat details, not by Temporal's attempt number, so a killed
worker or an unavailable database does not count as a failure of the model.
"""

from datetime import timedelta
from typing import Annotated, NoReturn

from pydantic import ValidationError
from temporalio.exceptions import ApplicationError

from tertulia.activities.errors import ModelError
from tertulia.activities.heartbeat import load_heartbeat_details, save_heartbeat_details
from tertulia.core.agents import ModelChoice, ModelSettings
from tertulia.core.base import Record, wire_name
from tertulia.core.errors import ErrorType, truncate
from tertulia.core.usage import Usage

_NO_DELAY = timedelta(milliseconds=1)


class RetryState(Record):
    """Failures so far for one answer; the heartbeat details of the activity."""

    fallback_index: Annotated[int, wire_name("model")] = 0
    """Index of the model to call, in `ModelSettings.choices`; 0 = the agent's main model."""
    failures: int = 0
    """Failures of that model."""
    all_failures: int = 0
    """Failures of all models."""
    usage: Usage = Usage()
    """Cost of the unusable answers."""
    error: Annotated[str, wire_name("trouble")] = ""
    """Text of the last failure."""

    @classmethod
    def load(cls, first_fallback_index: int) -> "RetryState":
        """Return the state left by earlier attempts of this activity, or a new one that starts with this model."""
        try:
            return cls.model_validate(load_heartbeat_details())
        except ValidationError:
            return cls(fallback_index=first_fallback_index)

    def current_model(self, models: ModelSettings) -> ModelChoice:
        """Return the model to call."""
        return models.choices[self.current_index(models)]

    def current_index(self, models: ModelSettings) -> int:
        """Return the index of the model to call."""
        # The agent may have been changed since, and have fewer models.
        return min(self.fallback_index, len(models.choices) - 1)


class ModelsExhausted(Exception):
    """No model has an attempt left; the group's failure policy decides what follows."""

    def __init__(self, retry_state: RetryState) -> None:
        super().__init__(retry_state.error)
        self.retry_state = retry_state


def raise_next_attempt(
    error: ModelError, retry_state: RetryState, models: ModelSettings, attempts: int, use_fallbacks: bool
) -> NoReturn:
    """Count a failure of the current model and raise the error that makes Temporal start the next attempt.

    The next attempt follows with the activity's retry delay, or with no delay if it calls the next model.

    Args:
        error: the failure.
        retry_state: the state before the failure.
        models: the agent's models.
        attempts: attempts per model.
        use_fallbacks: continue with the agent's fallback models.

    Raises:
        ApplicationError: another attempt follows.
        ModelsExhausted: no attempt is left.
    """
    choices, current_index = models.choices, retry_state.current_index(models)
    failures = retry_state.failures + 1
    name = choices[current_index].model
    message = truncate(f"{name}: {error}" if name else str(error))
    updated = retry_state.model_copy(
        update={
            "failures": failures,
            "all_failures": retry_state.all_failures + 1,
            "usage": retry_state.usage + error.usage + Usage(model_calls=1 - error.usage.model_calls),
            "error": message,
        }
    )
    error_type = ErrorType.MODEL_FAILED if error.retryable else ErrorType.MODEL_REFUSED
    if error.retryable and failures < attempts:
        save_heartbeat_details(updated.model_dump(mode="json"))
        raise ApplicationError(message, type=error_type, next_retry_delay=error.retry_after) from None
    if not use_fallbacks or current_index + 1 >= len(choices):
        raise ModelsExhausted(updated) from None
    next_model = updated.model_copy(update={"fallback_index": current_index + 1, "failures": 0})
    save_heartbeat_details(next_model.model_dump(mode="json"))
    raise ApplicationError(message, type=error_type, next_retry_delay=_NO_DELAY) from None
