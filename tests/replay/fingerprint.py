"""The Temporal commands in the workflow's source, in order.

Invariant: no line names a function, a class, a module or a variable of this project, so that a rename changes no line.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from tertulia.core.activity_contracts import ActivityName

SOURCES = ("conversation.py", "handlers.py", "carry_out.py", "turns.py", "activity_calls.py", "group_change.py")
_COMMANDS = {
    "execute_activity",
    "execute_local_activity",
    "start_activity",
    "start_child_workflow",
    "execute_child_workflow",
    "upsert_search_attributes",
    "upsert_memo",
    "continue_as_new",
    "wait_condition",
    "sleep",
    "patched",
    "uuid7",
}
_WRAPPERS = {"call_database": "database activity", "call_model": "model activity"}
"""This project's functions that schedule an activity, with their text in the fingerprint."""


def fingerprint(folder: Path) -> list[str]:
    """Return one line per command, in source order: the command and the registered name of its activity, if any."""
    return [line for name in SOURCES for line in _lines(ast.parse((folder / name).read_text(encoding="utf-8")))]


def _lines(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and (command := _command(child.func)):
            yield " ".join([command, *_activity_names(child.args)])
        yield from _lines(child)


def _activity_names(arguments: list[ast.expr]) -> Iterator[str]:
    for argument in arguments:
        if isinstance(argument, ast.Attribute) and getattr(argument.value, "id", "") == "ActivityName":
            yield ActivityName[argument.attr].value


def _command(function: ast.expr) -> str | None:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return _WRAPPERS.get(name) or (name if name in _COMMANDS else None)
