"""Base of all requests. Invariant: an unknown field is refused unless it is listed as ignored."""

from typing import Annotated, Any, ClassVar

from fastapi import Depends, Header
from pydantic import BaseModel, Field, model_validator
from starlette.exceptions import HTTPException

from tertulia.core.base import Definition
from tertulia.core.paging import DEFAULT_PAGE, MAX_PAGE, Order, Page


class RequestModel(Definition):
    """A request's body, or its query."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields of Letta's that mean nothing here: they may be sent, and are not read."""

    @model_validator(mode="before")
    @classmethod
    def _drop_ignored_fields(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if name not in cls.ignored_fields}


class PageQuery(RequestModel):
    """The query of a list."""

    before: str | None = Field(default=None, description="The id of a row: only what comes before it in the list.")
    after: str | None = Field(default=None, description="The id of a row: only what comes after it in the list.")
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="How many, at most.")
    order: Order = Field(default="asc", description="`asc`: the oldest first; `desc`: the newest first.")

    @property
    def page(self) -> Page:
        """Which part of the list."""
        return Page(before=self.before, after=self.after, limit=self.limit, order=self.order)


class DeletedResponse(BaseModel):
    """The answer to a deletion."""

    message: str


def _parse_if_match(
    if_match: Annotated[
        str | None,
        Header(description="Change it only if this is still its revision, or its version: a number; 409 otherwise."),
    ] = None,
) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    number = if_match.strip().removeprefix("W/").strip('"')
    if not (number.isascii() and number.isdigit() and len(number) < _MAX_DIGITS):
        raise HTTPException(400, "If-Match: a revision is a number, as in the last answer's `ETag`")
    return int(number)


_MAX_DIGITS = 10

ExpectedRevision = Annotated[int | None, Depends(_parse_if_match)]
"""The revision, or the version, that the request is about; None = whatever it is."""


def etag(revision: int) -> dict[str, str]:
    """The header that tells the revision."""
    return {"ETag": f'"{revision}"'}
