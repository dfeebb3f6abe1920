"""Completion of FastAPI's OpenAPI document: tags, error responses, event streams, examples, path parameters."""

from collections.abc import Iterator
from typing import Any

from tertulia.api.examples import PATH_PARAMETERS, REQUEST_EXAMPLES
from tertulia.api.problems import Problem
from tertulia.api.response_examples import response_example

TAGS: list[dict[str, str]] = [
    {"name": "health", "description": "Liveness and readiness of the API. No key is needed."},
    {"name": "agents", "description": "Agents: name, instructions, model and memory blocks. Shapes of Letta's V1 API."},
    {"name": "blocks", "description": "Memory blocks: labelled texts that agents and groups have in their prompts."},
    {
        "name": "groups",
        "description": "Groups of agents, and messages to a group's default conversation. Shapes of Letta's V1 API.",
    },
    {
        "name": "conversations",
        "description": "Conversations of a group: start, list, read, stream events, fork and delete.",
    },
    {
        "name": "commands",
        "description": "Commands to an open conversation. A response is a receipt: the command was accepted and takes "
        "effect at the next turn boundary. A repeated `command_id` counts once.",
    },
    {"name": "keys", "description": "API keys of the organisation. These routes need a key with the scope `admin`."},
    {
        "name": "codec",
        "description": "Temporal's remote codec: Temporal's UI and command line read encrypted payloads with it.",
    },
]
"""Tags of the routes, in the order of the document."""

_JSON = "application/json"
_PROBLEM = {_JSON: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
_EVENTS = "text/event-stream"
_EVENT_FIELDS: dict[str, Any] = {"id": {"type": "string"}, "event": {"type": "string"}, "retry": {"type": "integer"}}


def complete_document(document: dict[str, Any]) -> None:
    """Complete the document in place.

    Error responses become JSON on every route, also where the route's own responses are not. The schema of a stream
    describes one event (OpenAPI 3.2, 4.14.4), as in the streams that FastAPI documents itself.
    """
    schemas: dict[str, Any] = document["components"]["schemas"]
    for method, path, operation in _operations(document):
        _describe_path_parameters(operation)
        _add_request_examples(operation, method, path)
        for status, response in operation["responses"].items():
            content = response.get("content", {})
            if int(status) >= 400:
                response["content"] = _PROBLEM
            elif _EVENTS in content:
                content[_EVENTS] = {"itemSchema": _item_schema(content[_EVENTS].get("schema", {}), schemas)}
            elif _JSON in content:
                content[_JSON]["example"] = response_example(content[_JSON]["schema"], path)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def _describe_path_parameters(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] != "path":
            continue
        parameter["description"], example = PATH_PARAMETERS[parameter["name"]]
        if example is not None:
            parameter["example"] = example


def _add_request_examples(operation: dict[str, Any], method: str, path: str) -> None:
    if "requestBody" in operation:
        examples = REQUEST_EXAMPLES[method, path]
        operation["requestBody"]["content"][_JSON]["examples"] = {
            title: {"summary": title, "value": body} for title, body in examples.items()
        }


def _item_schema(stream: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one event, given the schema of the whole stream, whose content schema is that of `data`."""
    text = schemas.get(str(stream.get("$ref", "")).rpartition("/")[2], stream)
    data = {"type": "string", "contentMediaType": _JSON}
    content = {"contentSchema": text["contentSchema"]} if "contentSchema" in text else {}
    return {"type": "object", "properties": {"data": data | content, **_EVENT_FIELDS}}
