"""The OpenAPI document has titles and examples for every route, and the running API accepts the examples."""

import json
import re
from typing import Any
from uuid import uuid4

import jsonschema_rs
import pytest

from tertulia.api.app import create_app
from tertulia.api.examples import REQUEST_EXAMPLES
from tertulia.api.openapi import TAGS
from tertulia.configuration import Configuration
from tertulia.core.commands import PATHS
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.stack import Stack
from tertulia.testing import open_workflow_harness
from tests.api.route_cases import ROUTES
from tests.harness.api_server import bearer, configuration_for, make_key, new_organisation, open_api

DOCUMENT: dict[str, Any] = create_app(Configuration.from_environment({})).openapi()
OPERATIONS = [(method, path, one) for path, methods in DOCUMENT["paths"].items() for method, one in methods.items()]
IDS = r'"(ana|ben|cleo|table|panel|table-talk)"'
HEALTHY = "is healthy; there is nothing to reinstate"
"""The only refusal: a healthy member cannot be reinstated."""


def is_valid(value: object, schema: dict[str, Any]) -> bool:
    """Return whether a JSON value is valid under a schema of the document."""
    return jsonschema_rs.is_valid({**schema, "components": DOCUMENT["components"]}, value)


def test_titles_are_readable_and_unique() -> None:
    titles = [operation["summary"] for _, _, operation in OPERATIONS]
    assert len(set(titles)) == len(titles)
    for title in titles:
        assert re.fullmatch(r"[A-Z][a-z]+( [a-z]+)+( \(old path\))?", title), title


def test_every_route_is_described() -> None:
    tags = {tag["name"]: tag["description"] for tag in TAGS}
    assert DOCUMENT["tags"] == TAGS
    for method, path, operation in OPERATIONS:
        assert operation["description"].endswith("."), (method, path)
        assert len(operation["tags"]) == 1 and tags[operation["tags"][0]], (method, path)
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], (path, parameter["name"])
    assert {operation["tags"][0] for _, _, operation in OPERATIONS} == set(tags)


def test_every_request_body_has_an_example() -> None:
    with_body = {(method, path) for method, path, operation in OPERATIONS if "requestBody" in operation}
    assert with_body == set(REQUEST_EXAMPLES)
    for method, path, operation in OPERATIONS:
        if (method, path) not in with_body:
            continue
        content = operation["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            assert is_valid(example["value"], content["schema"]), (path, example)


def test_every_json_response_has_an_example() -> None:
    for method, path, operation in OPERATIONS:
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get("application/json")
            if int(status) < 400 and content is not None:
                assert content["example"] != [], (method, path)
                assert is_valid(content["example"], content["schema"]), (method, path, content["example"])


@pytest.mark.parametrize(("name", "path"), PATHS.items())
def test_receipt_example_names_its_command(name: str, path: str) -> None:
    methods = DOCUMENT["paths"][f"/v1/conversations/{{conversation_id}}/{path}"]
    operation = methods["patch" if name == "update_settings" else "post"]
    assert operation["responses"]["202"]["content"]["application/json"]["example"]["command"] == name


def test_invalid_example_would_be_found() -> None:
    assert is_valid({"after": 1}, {"$ref": "#/components/schemas/EventCursor"})
    assert not is_valid({"after": "one"}, {"$ref": "#/components/schemas/EventCursor"})


@pytest.mark.timeout(120)
async def test_running_api_accepts_every_example(stack: Stack, model: OfflineModelControl) -> None:
    # Ids are unique across organisations; other tests may use the same ones.
    suffix = uuid4().hex[:8]

    def unique(text: str) -> str:
        return re.sub(IDS, rf'"\1-{suffix}"', text)

    async with open_workflow_harness(stack) as harness:
        configuration = configuration_for(stack, TERTULIA_TASK_QUEUE=harness.client.scope.connection.task_queue)
        async with open_api(configuration) as (_, client):
            database = harness.client.scope.database
            key = await make_key(database, "admin", organisation=await new_organisation(database))
            client.headers.update(bearer(key.secret))
            ids = {name: f"{short}-{suffix}" for name, short in (("agent_id", "ana"), ("group_id", "table"))}
            ids |= {"conversation_id": f"table-talk-{suffix}", "block_label": "persona"}
            sent = set()
            for method, path, operation in OPERATIONS:
                if "requestBody" not in operation:
                    continue
                for title, example in operation["requestBody"]["content"]["application/json"]["examples"].items():
                    body = json.loads(unique(json.dumps(example["value"])))
                    answer = await client.request(method, path.format(**ids), json=body, timeout=60)
                    refused_as_healthy = answer.status_code == 400 and HEALTHY in answer.text
                    assert answer.is_success or refused_as_healthy, (method, path, title, answer.text)
                    for name, created_at in (("block_id", "/v1/blocks/"), ("key_id", "/v1/keys/")):
                        if path == created_at:
                            ids[name] = answer.json()["id"]
                sent.add((method.upper(), path))
    assert sent == {key for key in ROUTES if (key[0].lower(), key[1]) in REQUEST_EXAMPLES}
    assert len(sent) == len(REQUEST_EXAMPLES)
