"""Base of all response bodies, and the parts that several routes answer with."""

from pydantic import BaseModel, ConfigDict


class ResponseModel(BaseModel):
    """Body of a response. Docstrings of fields become descriptions in the OpenAPI document."""

    # Letta's shapes have fields such as `model_settings`, whose prefix pydantic reserves.
    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())


class DeletedResponse(ResponseModel):
    """Confirmation of a deletion."""

    message: str


def etag(revision: int) -> dict[str, str]:
    """Return the `ETag` header for a revision of an agent or group, or a version of a block."""
    return {"ETag": f'"{revision}"'}
