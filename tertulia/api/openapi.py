"""Corrections of the OpenAPI document that FastAPI generates."""

from collections.abc import Iterator
from typing import Any

from tertulia.api.problems import Problem

_PROBLEM = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
_EVENTS = "text/event-stream"
_EVENT_FIELDS: dict[str, Any] = {"id": {"type": "string"}, "event": {"type": "string"}, "retry": {"type": "integer"}}


def complete_document(document: dict[str, Any]) -> None:
    """Let every problem be JSON, also where a route answers with something else; and let a stream's schema be that of
    each event in it (OpenAPI 3.2, 4.14.4; FastAPI writes its own streams so).
    """
    schemas: dict[str, Any] = document["components"]["schemas"]
    for status, response in _responses(document):
        if status >= 400:
            response["content"] = _PROBLEM
        elif _EVENTS in response.get("content", {}):
            response["content"][_EVENTS] = {
                "itemSchema": _item_schema(response["content"][_EVENTS].get("schema", {}), schemas)
            }


def _responses(document: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    for operation in (one for methods in document["paths"].values() for one in methods.values()):
        for status, response in operation["responses"].items():
            yield int(status), response


def _item_schema(stream: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of one event, from that of the text of them all, whose content is what the events' data is."""
    text = schemas.get(str(stream.get("$ref", "")).rpartition("/")[2], stream)
    data = {"type": "string", "contentMediaType": "application/json"}
    content = {"contentSchema": text["contentSchema"]} if "contentSchema" in text else {}
    return {"type": "object", "properties": {"data": data | content, **_EVENT_FIELDS}}
