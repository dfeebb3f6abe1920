"""`/v1/groups`: groups. A change of one reaches its running conversations at their next turn."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from tertulia.api.dependencies import GroupsToChange, GroupsToRead
from tertulia.api.schemas.groups import CreateGroup, GroupQuery, GroupShape, UpdateGroup, group_shape
from tertulia.api.schemas.requests import DeletedResponse, ExpectedRevision, etag
from tertulia.core.group import ClosePolicy

router = APIRouter(prefix="/groups", tags=["groups"])


@router.get("/")
async def groups(service: GroupsToRead, query: Annotated[GroupQuery, Query()]) -> list[GroupShape]:
    """A page of the groups."""
    return [group_shape(group) for group in await service.list(query.page, query.filter)]


@router.post("/")
async def create(service: GroupsToChange, body: CreateGroup, response: Response) -> GroupShape:
    """Make a group. It may be empty; a message to it is refused as long as it is."""
    group = await service.create(body.definition)
    response.headers.update(etag(group.group.revision))
    return group_shape(group)


@router.get("/count")
async def count(service: GroupsToRead) -> int:
    """Count the organisation's groups."""
    return await service.count()


@router.get("/{group_id}")
async def retrieve(service: GroupsToRead, group_id: str, response: Response) -> GroupShape:
    """A group."""
    group = await service.retrieve(group_id)
    response.headers.update(etag(group.group.revision))
    return group_shape(group)


@router.patch("/{group_id}")
async def update(
    service: GroupsToChange, group_id: str, body: UpdateGroup, expected: ExpectedRevision, response: Response
) -> GroupShape:
    """Change a group; its running conversations follow at their next turn.

    A list is replaced as a whole, and null makes a field empty. How the next speaker is chosen, `manager_type`, cannot
    be changed.
    """
    group = await service.update(group_id, body, expected_revision=expected)
    response.headers.update(etag(group.group.revision))
    return group_shape(group)


@router.delete("/{group_id}")
async def delete(
    service: GroupsToChange,
    group_id: str,
    conversations: Annotated[
        ClosePolicy, Query(description="Whether its conversations close, or go on without it.")
    ] = "close",
) -> DeletedResponse:
    """Delete a group; transcripts stay."""
    await service.delete(group_id, conversations=conversations)
    return DeletedResponse(message=f"group {group_id!r} deleted")


@router.patch("/{group_id}/blocks/attach/{block_id}")
async def attach(service: GroupsToChange, group_id: str, block_id: str) -> GroupShape:
    """Let the group's members share a block, as the last."""
    return group_shape(await service.attach_block(group_id, block_id))


@router.patch("/{group_id}/blocks/detach/{block_id}")
async def detach(service: GroupsToChange, group_id: str, block_id: str) -> GroupShape:
    """Let the group's members share a block no longer; the block itself stays."""
    return group_shape(await service.detach_block(group_id, block_id))
