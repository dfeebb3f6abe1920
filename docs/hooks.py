"""MkDocs hook: generate the reference of the REST API and of the command line, and link source files.

The pages exist during the build alone, so that they cannot differ from the code.
"""

import inspect
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.core import TyperGroup
from typer.main import get_command

from tertulia.api.app import create_app
from tertulia.configuration import Configuration
from tertulia.starter.cli.app import app as command_line

_REPOSITORY = Path(__file__).parents[1]
_METHODS = ("get", "post", "put", "patch", "delete")
_SHOWN_STATUSES = range(200, 300)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List every decision record in the navigation."""
    records = sorted((Path(config.docs_dir) / "decisions").glob("[0-9]*.md"))
    decisions = next(entry["Decisions"] for entry in config.nav or () if "Decisions" in entry)
    decisions += [f"decisions/{record.name}" for record in records]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    document = create_app(Configuration.from_environment({})).openapi()
    files.append(File.generated(config, "reference/openapi.json", content=json.dumps(document, indent=1)))
    for path, lines in {
        "reference/rest-api.md": _rest_api_page(document),
        "reference/command-line.md": _command_line_page(),
    }.items():
        files.append(File.generated(config, path, content="\n".join(lines) + "\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show links to files outside `docs/` as paths: the site does not contain them."""
    folder = (Path(config.docs_dir) / page.file.src_uri).parent

    def replace(match: re.Match[str]) -> str:
        target = (folder / match["target"].partition("#")[0]).resolve()
        if not target.is_relative_to(_REPOSITORY) or target.is_relative_to(Path(config.docs_dir).resolve()):
            return match[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.file.src_uri}: no such file: {match['target']}")
        path = str(target.relative_to(_REPOSITORY))
        return f"`{path}`" if match["text"].strip("`") in (path, match["target"]) else f"{match['text']} (`{path}`)"

    return re.sub(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>\.\./[^)\s]+)\)", replace, markdown)


def _rest_api_page(document: Mapping[str, Any]) -> Iterator[str]:
    yield "# REST API"
    yield ""
    yield "Generated from the OpenAPI document of the application: [openapi.json](openapi.json)."
    yield "A running API serves it at `/openapi.json`, and as an interactive page at `/docs`."
    yield "[The guide](../guides/rest-api.md) explains keys, pages of lists, idempotency and errors."
    schemas = document["components"]["schemas"]
    used: dict[str, None] = {}
    for tag, operations in _operations_by_tag(document).items():
        yield from ("", f"## {tag.replace('_', ' ').capitalize()}")
        for path, method, operation in operations:
            yield from _operation(path, method, operation, used)
    yield from ("", "## Schemas", "")
    yield "Bodies of requests and responses. Fields without a default are required."
    shown: set[str] = set()
    while pending := [name for name in used if name not in shown]:
        for name in pending:
            yield from _schema(name, schemas[name], used)
        shown.update(pending)


def _operations_by_tag(document: Mapping[str, Any]) -> dict[str, list[tuple[str, str, Mapping[str, Any]]]]:
    grouped: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                tag = next(iter(methods[method].get("tags", [])), "") or path.removeprefix("/v1/").partition("/")[0]
                grouped.setdefault(tag, []).append((path, method, methods[method]))
    return grouped


def _operation(path: str, method: str, operation: Mapping[str, Any], used: dict[str, None]) -> Iterator[str]:
    yield from ("", f"### {operation['summary']}", "", f"`{method.upper()} {path}`", "")
    yield operation.get("description", "")
    parameters = [one for one in operation.get("parameters", []) if one["in"] != "header" or one["name"] != "x-api-key"]
    if parameters:
        yield from ("", "| parameter | in | type | meaning |", "| --- | --- | --- | --- |")
        for one in parameters:
            meaning = one.get("description") or one["schema"].get("description", "")
            name = f"`{one['name']}`" + (" (required)" if one.get("required") and one["in"] != "path" else "")
            yield f"| {name} | {one['in']} | {_type(one['schema'], used)} | {_cell(meaning)} |"
    if content := operation.get("requestBody", {}).get("content", {}).get("application/json"):
        yield from ("", f"Body: {_type(content['schema'], used)}")
        for example in content.get("examples", {}).values():
            yield from _example(example["value"])
    for status, response in operation["responses"].items():
        if int(status) in _SHOWN_STATUSES:
            yield from _response(status, response, used)


def _response(status: str, response: Mapping[str, Any], used: dict[str, None]) -> Iterator[str]:
    if "content" not in response:
        yield from ("", f"Response {status}: no content")
    for media_type, content in response.get("content", {}).items():
        schema = content.get("schema", content.get("itemSchema", {}))
        media = "" if media_type == "application/json" else f" (`{media_type}`)"
        yield from ("", f"Response {status}: {_type(schema, used)}{media}")
        if media_type == "application/json" and "example" in content:
            yield from _example(content["example"])


def _example(value: Any) -> Iterator[str]:
    yield from ("", "```json", json.dumps(value, indent=2, ensure_ascii=False), "```")


def _schema(name: str, schema: Mapping[str, Any], used: dict[str, None]) -> Iterator[str]:
    yield from ("", f"### {name}", "")
    if schema.get("description"):
        yield from (schema["description"], "")
    if "properties" not in schema:
        yield _type(schema, used)
        return
    required = schema.get("required", [])
    yield from ("| field | type | default | meaning |", "| --- | --- | --- | --- |")
    for field, value in schema["properties"].items():
        default = "" if field in required else f"`{json.dumps(value.get('default'))}`"
        yield f"| `{field}` | {_type(value, used)} | {_cell(default)} | {_cell(value.get('description', ''))} |"


def _type(schema: Mapping[str, Any], used: dict[str, None]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        used.setdefault(name)
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_type(one, used) for one in schema[key]))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}), used)}"
    return str(schema.get("format") or schema.get("type") or "any JSON value")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _command_line_page() -> Iterator[str]:
    os.environ["COLUMNS"] = "100"
    yield "# Command line"
    yield ""
    yield "Generated from the command's own help. [The guide](../guides/command-line.md) explains ids, output and exit"
    yield "codes."
    yield from _command_help(get_command(command_line), "tertulia", None)


def _command_help(command: Any, name: str, parent: Any) -> Iterator[str]:
    context = command.make_context(name.rpartition(" ")[2], ["--help"], parent=parent, resilient_parsing=True)
    context.terminal_width = context.max_content_width = 100
    yield from ("", f"## {name}", "", "```text", inspect.cleandoc(command.get_help(context)), "```")
    if isinstance(command, TyperGroup):
        for subcommand in command.list_commands(context):
            yield from _command_help(command.commands[subcommand], f"{name} {subcommand}", context)
