"""Failures of activities as Temporal records them: classified, and truncated before they enter a history.

ModelError             a model call gave no usable answer
├── retryable          408, 409, 429 (its `retry-after` honoured), 5xx, broken connections, timeouts, unusable answers
└── not retryable      every other 4xx: the request is refused
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import openai
from sqlalchemy.exc import StatementError
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from tertulia.core.errors import ErrorType, TertuliaError, truncate
from tertulia.core.usage import Usage

RETRYABLE_STATUS = frozenset({408, 409, 429})
"""Statuses below 500 after which the same request may succeed."""
MAX_RETRY_AFTER = timedelta(minutes=10)
"""Longest delay that a provider can ask for: a mistaken header must not stop a conversation for hours."""


class ModelError(Exception):
    """A model gave no usable answer."""

    def __init__(
        self, message: str, *, retryable: bool, retry_after: timedelta | None = None, usage: Usage | None = None
    ) -> None:
        super().__init__(message)
        self.usage = usage or Usage()
        """Cost of the unusable answer."""
        self.retryable = retryable
        """The same request may succeed later."""
        self.retry_after = retry_after
        """Delay that the provider asks for; None = it names none."""


def is_retryable(status: int) -> bool:
    """Return True if a request that got this HTTP status may succeed when it is sent again."""
    return status in RETRYABLE_STATUS or status >= 500


def classify_api_error(error: openai.APIError) -> ModelError:
    """Convert an error of the openai client, and decide if another attempt makes sense."""
    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        retryable = is_retryable(status)
        message = f"the model's provider answered {status}: {truncate(_provider_message(error), 300)}"
        return ModelError(message, retryable=retryable, retry_after=_retry_after(error))
    if isinstance(error, openai.APITimeoutError):
        return ModelError("the model did not answer in time", retryable=True)
    cause = f" ({truncate(str(error.__cause__), 200)})" if error.__cause__ else ""
    return ModelError(f"no connection to the model's provider{cause}", retryable=True)


def _provider_message(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict) and isinstance(message := body.get("message"), str):
        return message
    return error.message


def _retry_after(error: openai.APIStatusError) -> timedelta | None:
    headers = error.response.headers
    value = headers.get("retry-after-ms")
    try:
        if value is not None:
            delay = timedelta(milliseconds=float(value))
        elif (value := headers.get("retry-after")) is None:
            return None
        else:
            delay = timedelta(seconds=float(value)) if _is_number(value) else _delay_until(value)
    except (ValueError, OverflowError):
        return None
    return min(max(delay, timedelta()), MAX_RETRY_AFTER)


def _is_number(value: str) -> bool:
    return value.replace(".", "", 1).isdigit()


def _delay_until(http_date: str) -> timedelta:
    when = parsedate_to_datetime(http_date)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)


class ErrorConversionInterceptor(Interceptor):
    """Convert errors of activities into short application errors, so that no SQL and no prompt enters a history."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _ErrorConversionInbound(next)


class _ErrorConversionInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        # From None: a cause would carry SQL parameters and prompts into the history.
        except TertuliaError as error:
            raise ApplicationError(truncate(str(error)), type=error.code, non_retryable=True) from None
        except StatementError as error:
            raise ApplicationError(
                truncate(f"the database: {error.orig or error}"), type=ErrorType.DATABASE_UNAVAILABLE
            ) from None
