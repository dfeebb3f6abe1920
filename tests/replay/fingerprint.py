"""The commands that the workflow's source can give to Temporal, in the order in which they stand there."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCES = ("conversation.py", "handlers.py", "steps.py", "turns.py", "calls.py", "group_change.py")
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
    "call_database",
    "call_model",
}


def fingerprint(folder: Path) -> list[str]:
    """A line for every command: file, function, call, and its first argument where that names an activity."""
    lines = []
    for name in SOURCES:
        tree = ast.parse((folder / name).read_text(encoding="utf-8"))
        for function, call in _calls(tree, "module"):
            lines.append(f"{name} {function}: {call}")
    return lines


def _calls(node: ast.AST, function: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _calls(child, child.name)
            continue
        if isinstance(child, ast.Call) and (called := _name(child.func)) in _COMMANDS:
            names = [one for one in map(ast.unparse, child.args) if one.startswith("ActivityName.")]
            yield function, " ".join([called, *names])
        yield from _calls(child, function)


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""
