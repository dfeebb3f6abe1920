"""`/v1/groups`: groups. Changes apply to the group's open conversations from their next turn."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from tertulia.api.dependencies import GroupsToChange, GroupsToRead
from tertulia.api.schemas.groups import CreateGroup, GroupQuery, GroupShape, UpdateGroup, group_shape
from tertulia.api.schemas.requests import ExpectedRevision
from tertulia.api.schemas.responses import DeletedResponse, etag
from tertulia.core.group import ClosePolicy

router = APIRouter(prefix="/groups", tags=["groups"])


@router.get("/", summary="List groups")
async def groups(service: GroupsToRead, query: Annotated[GroupQuery, Query()]) -> list[GroupShape]:
    """List the groups of the organisation, page by page."""
    return [group_shape(group) for group in await service.list(query.page, query.filter)]


@router.post("/", summary="Create a group")
async def create(service: GroupsToChange, body: CreateGroup, response: Response) -> GroupShape:
    """Create a group. It may have no members; such a group refuses messages."""
    group = await service.create(body.definition)
    response.headers.update(etag(group.group.revision))
    return group_shape(group)


@router.get("/count", summary="Count groups")
async def count(service: GroupsToRead) -> int:
    """Return the number of groups."""
    return await service.count()


@router.get("/{group_id}", summary="Retrieve a group")
async def retrieve(service: GroupsToRead, group_id: str, response: Response) -> GroupShape:
    """Return a group."""
    group = await service.retrieve(group_id)
    response.headers.update(etag(group.group.revision))
    return group_shape(group)


@router.patch("/{group_id}", summary="Change a group")
async def update(
    service: GroupsToChange, group_id: str, body: UpdateGroup, expected: ExpectedRevision, response: Response
) -> GroupShape:
    """Change a group. The change applies to its open conversations from their next turn.

    A list is replaced as a whole; null clears a field. The `manager_type` cannot be changed.
    """
    group = await service.update(group_id, body, expected_revision=expected)
    response.headers.update(etag(group.group.revision))
    return group_shape(group)


@router.delete("/{group_id}", summary="Delete a group")
async def delete(
    service: GroupsToChange,
    group_id: str,
    conversations: Annotated[
        ClosePolicy, Query(description="`close`: close its open conversations; `detach`: continue them without it.")
    ] = "close",
) -> DeletedResponse:
    """Delete a group. The transcripts of its conversations stay."""
    await service.delete(group_id, conversations=conversations)
    return DeletedResponse(message=f"group {group_id!r} deleted")


@router.patch("/{group_id}/blocks/attach/{block_id}", summary="Share a block in a group")
async def attach(service: GroupsToChange, group_id: str, block_id: str) -> GroupShape:
    """Add a block to the shared blocks of the group, as the last one."""
    return group_shape(await service.attach_block(group_id, block_id))


@router.patch("/{group_id}/blocks/detach/{block_id}", summary="Stop sharing a block in a group")
async def detach(service: GroupsToChange, group_id: str, block_id: str) -> GroupShape:
    """Remove a block from the shared blocks of the group. The block is not deleted."""
    return group_shape(await service.detach_block(group_id, block_id))
