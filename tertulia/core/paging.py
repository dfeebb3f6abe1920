"""Pages of a list."""

from typing import Literal

from pydantic import Field

from tertulia.core.base import Definition

MAX_PAGE = 200


DEFAULT_PAGE = 50


Order = Literal["asc", "desc"]


class Page(Definition):
    """Which part of a list: the oldest first, unless `order` says otherwise."""

    before: str | None = None
    """The id of a row: only what comes before it in the list, the nearest to it."""
    after: str | None = None
    """The id of a row: only what comes after it in the list, the nearest to it."""
    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=MAX_PAGE)
    order: Order = "asc"
