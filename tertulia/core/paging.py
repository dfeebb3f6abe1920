"""Pages of lists."""

from typing import Literal

from pydantic import Field

from tertulia.core.base import Definition

MAX_PAGE = 200
DEFAULT_PAGE = 50

Order = Literal["asc", "desc"]


class Page(Definition):
    """A page of a list."""

    before: str | None = None
    """Id of a row; the page ends just before it."""
    after: str | None = None
    """Id of a row; the page starts just after it."""
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE)
    order: Order = "asc"
    """`asc`: oldest first."""
