"""Base of all request bodies and queries. Invariant: an unknown field is refused unless `ignored_fields` lists it."""

from typing import Annotated, Any, ClassVar

from fastapi import Depends, Header
from pydantic import Field, model_validator
from starlette.exceptions import HTTPException

from tertulia.core.base import Definition
from tertulia.core.paging import DEFAULT_PAGE, MAX_PAGE, Order, Page


class RequestModel(Definition):
    """Body or query of a request."""

    ignored_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields of Letta's API without a meaning here: clients may send them, and they have no effect."""

    @model_validator(mode="before")
    @classmethod
    def _drop_ignored_fields(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if name not in cls.ignored_fields}


class PageQuery(RequestModel):
    """Query for one page of a list."""

    before: str | None = Field(default=None, description="Id of a row; the page ends just before it.")
    after: str | None = Field(default=None, description="Id of a row; the page starts just after it.")
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE, description="Rows of the page at most.")
    order: Order = Field(default="asc", description="`asc`: oldest first; `desc`: newest first.")

    @property
    def page(self) -> Page:
        """The page that the service takes."""
        return Page(before=self.before, after=self.after, limit=self.limit, order=self.order)


def _parse_if_match(
    if_match: Annotated[
        str | None,
        Header(description="Revision or version that the change applies to, as in `ETag`; any other one gives 409."),
    ] = None,
) -> int | None:
    # `*` means any present revision (RFC 9110, 13.1.1).
    if if_match is None or if_match.strip() == "*":
        return None
    number = if_match.strip().removeprefix("W/").strip('"')
    if not (number.isascii() and number.isdigit() and len(number) < _MAX_DIGITS):
        raise HTTPException(400, "If-Match: expected a number, as in the `ETag` of the last response")
    return int(number)


_MAX_DIGITS = 10

ExpectedRevision = Annotated[int | None, Depends(_parse_if_match)]
"""Revision or version that the change applies to; None = the present one, whatever its number."""
