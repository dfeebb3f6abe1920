"""Read a list to its end, page by page."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tertulia.core.paging import MAX_PAGE, Order, Page

Row = TypeVar("Row")


async def read_list(
    read_page: Callable[[Page], Awaitable[list[Row]]],
    id_of: Callable[[Row], str],
    *,
    limit: int | None,
    order: Order,
) -> list[Row]:
    """Return up to `limit` rows, or all of them, reading as many pages as needed.

    Args:
        read_page: reads one page.
        id_of: the id of a row, after which the next page starts.
        limit: the number of rows at most; None = all.
        order: `asc` = the oldest first.
    """
    rows: list[Row] = []
    while limit is None or len(rows) < limit:
        size = MAX_PAGE if limit is None else min(limit - len(rows), MAX_PAGE)
        page = Page(after=id_of(rows[-1]) if rows else None, limit=size, order=order)
        found = await read_page(page)
        rows += found
        if len(found) < size:
            break
    return rows
